"""Runs a method with symbols for its sizes, to see on which conditions on sizes it decides.

``torch.export`` reports these conditions with its program; a TorchScript trace knows nothing of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import DimDynamic, ShapeEnv, StatelessSymbolicContext
from torch.overrides import TorchFunctionMode

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.conditions import SizeCondition, assumed_by
from lightning_onnx.tracing.patches.copies import deep_copy


def conditions_in_run(module: FlatModule, request: Request) -> tuple[SizeCondition, ...]:
    """Return the conditions on sizes of the traced call; up to an error, if the method does not run with symbols.

    Args:
        module: A private copy with its weights.
        request: The traced tensors, and the names of their dynamic dims.
    """
    env = ShapeEnv(duck_shape=False)  # equal sizes are not one dim
    symbols: dict[str, str] = {}
    mode = FakeTensorMode(shape_env=env, allow_non_fake_inputs=True)
    with torch.no_grad(), contextlib.suppress(Exception), mode:  # a value of a tensor has no symbol
        tensors = []
        for tensor, axes in zip(request.tensors, request.axes, strict=True):
            sizes = [DimDynamic.DYNAMIC if d in axes else DimDynamic.STATIC for d in range(tensor.dim())]
            fake = mode.from_tensor(tensor, symbolic_context=StatelessSymbolicContext(sizes))
            symbols |= {str(fake.shape[d]): name for d, name in axes.items()}
            tensors.append(fake)
        with _CopiesWithoutValues():
            module(*tensors)
    return assumed_by(env, symbols)


class _CopiesWithoutValues(TorchFunctionMode):
    """Makes a deep copy of a tensor without copying its memory: a tensor with symbols has none, and Python crashes."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, or copy the tensor."""
        if func is not Tensor.__deepcopy__:
            return func(*args, **(kwargs or {}))
        return deep_copy(*args)
