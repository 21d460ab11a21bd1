"""Whether a method is called with parts of batches, or with what other methods make of them."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Sequence

from torch import Tensor

from lightning_onnx.module.calls.nested import flatten

_TRIES = 20
"""Calls that are looked at: a method that none of them gave a part of a batch is taken to get none."""


class Membership:
    """Looks whether tensors of a method's calls are parts of batches, or views of them.

    Attributes:
        is_seen: Whether one was.

    Example:
        >>> import torch
        >>> membership, image = Membership(), torch.zeros(2, 3, 4, 4)
        >>> membership.see_batch({"image": image})
        >>> membership.see_call([image + 1])
        >>> membership.is_seen
        False
        >>> membership.see_call([image.flatten(1)])
        >>> membership.is_seen
        True
    """

    def __init__(self) -> None:
        self.is_seen = False
        self._left = _TRIES
        self._parts: list[weakref.ref[Tensor]] = []

    @property
    def _is_open(self) -> bool:
        return not self.is_seen and self._left > 0

    def see_batch(self, batch: object) -> None:
        """Note the tensors of a batch, without keeping them alive.

        Args:
            batch: The batch of the next step.
        """
        self._parts = [weakref.ref(tensor) for tensor in flatten(batch)[1]] if self._is_open else []

    def see_call(self, tensors: Sequence[Tensor]) -> None:
        """Look at a call.

        Args:
            tensors: Its tensors.
        """
        if not self._is_open or not self._parts:
            return
        self._left -= 1
        with contextlib.suppress(Exception):  # a tensor without memory of its own, such as a fake one
            held = {_place(part) for part in (ref() for ref in self._parts) if part is not None}
            self.is_seen = not held.isdisjoint(_place(tensor) for tensor in tensors if tensor.numel())


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
