"""Capture with dense tensors in the place of sparse ones, which ONNX's operators do not take."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, MutableMapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx.errors import CaptureNotApplicable
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.captures.base import Captured, DynamicShapes, export_program


class Densified:
    """For modules that keep sparse matrices, such as the graph of a recommender; the file holds their zeros too."""

    follows_values = False

    def capture(self, module: FlatModule, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes) -> Captured:
        """See ``Capture.capture``."""
        with _dense(module) as number:
            if not number:
                raise CaptureNotApplicable("the module keeps no sparse tensor")
            return Captured(export_program(module, tensors, dynamic_shapes))


@contextlib.contextmanager
def _dense(module: nn.Module) -> Iterator[int]:
    """Replace the sparse parameters, buffers and attributes of a module; yield their number."""
    replaced: list[tuple[MutableMapping[str, Any], str, Tensor]] = []
    for part in module.modules():
        owners: tuple[MutableMapping[str, Any], ...] = (part.__dict__, part._buffers, part._parameters)
        replaced += [(owner, name, value) for owner in owners for name, value in owner.items() if _is_sparse(value)]
    try:
        for owner, name, value in replaced:
            dense = value.detach().to_dense()
            owner[name] = nn.Parameter(dense, requires_grad=False) if isinstance(value, nn.Parameter) else dense
        yield len(replaced)
    finally:
        for owner, name, value in replaced:
            owner[name] = value


def _is_sparse(value: object) -> bool:
    return isinstance(value, Tensor) and value.layout is not torch.strided
