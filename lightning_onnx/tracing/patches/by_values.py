"""TODO."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from lightning_onnx.tracing.patches import integers


@contextlib.contextmanager
def by_values(symbolic_integers: bool) -> Iterator[None]:
    """Let the traced values decide what torch cannot know of a size that depends on values.

    Is a number of graphs 1, and is to be broadcast? What comes out is compared at other sizes like any other graph.
    """
    import torch._functorch.config
    from torch._subclasses import fake_utils

    with (
        torch._functorch.config.patch(fake_tensor_propagate_real_tensors=True),
        # It compares sizes and offsets with the traced ones, which fixes them: the second of two rows lies at a size.
        mock.patch.object(fake_utils, "_check_fake_real_tensors", _unchecked),
        integers.symbolic() if symbolic_integers else contextlib.nullcontext(),
    ):
        yield


def _unchecked(*args: Any, **kwargs: Any) -> None:
    return None
