"""Modules and requests as the engines get them."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule


def made(
    module: nn.Module,
    *tensors: Tensor,
    axes: tuple[Mapping[int, str], ...] | None = None,
    output_names: tuple[str, ...] = ("y",),
) -> tuple[FlatModule, Request]:
    """Wrap a module, and ask for a graph of its ``forward``: inputs x0, x1 ...; dim 0 of each is "batch" by default."""
    sample = sample_of(module, "forward", (tensors, {}))
    names = tuple(f"x{i}" for i in range(len(tensors)))
    axes = tuple({0: "batch"} for _ in tensors) if axes is None else axes
    request = Request(sample, tensors, names, output_names, axes, seen={}, samples=(sample,))
    return FlatModule(module.eval(), "forward", sample), request
