"""Convolutions that the exporter translates wrongly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lightning_onnx.tracing.rules.base import aten

Size = int | Sequence[int]


def translations() -> dict[Any, Callable[..., Any]]:
    """Return translations for ``custom_translation_table`` of ``torch.onnx.export(dynamo=True)``, by operator.

    For a 3D convolution without bias, the exporter writes a bias of shape ``(channels, 2)``, which is invalid.
    """
    from onnxscript import opset18

    op: Any = opset18  # its types do not allow values of a graph

    def conv3d(
        input: Any,
        weight: Any,
        bias: Any = None,
        stride: Sequence[int] = (1, 1, 1),
        padding: Sequence[int] = (0, 0, 0),
        dilation: Sequence[int] = (1, 1, 1),
        groups: int = 1,
    ) -> Any:
        parts = (weight,) if bias is None else (weight, bias)
        is_batched = len(input.shape) == 5
        found = op.Conv(
            input if is_batched else op.Unsqueeze(input, op.Constant(value_ints=[0])),
            *parts,
            strides=each(stride, 3),
            pads=each(padding, 3) * 2,
            dilations=each(dilation, 3),
            group=groups,
        )
        return found if is_batched else op.Squeeze(found, op.Constant(value_ints=[0]))

    return {aten.conv3d.default: conv3d}


def each(value: Size, dims: int) -> list[int]:
    """Return a setting of a convolution, such as its stride, as one number for each dim."""
    return [value] * dims if isinstance(value, int) else list(value) * (dims // len(value))
