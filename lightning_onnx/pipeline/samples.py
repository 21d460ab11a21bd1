"""Answers of module and file side by side, for the first rows of the test data."""

from __future__ import annotations

import base64
import importlib.util
import io
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_onnx.manifest.answers import Rows, Samples
from lightning_onnx.module.arrays import feeds, to_tensor
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.module.cases import Case
from lightning_onnx.runtimes.base import Session

_ROWS, _VALUES = 3, 8
"""As many as a reader compares by eye."""

_OUTPUTS = 4
_SHOWN = ("float32", "float64", "float16", "int64", "int32", "int8", "uint8", "bool")

_SIDE = 96
"""Pixels of an image's longer side."""


def samples(session: Session, signature: Signature, case: Case, *, is_real: bool) -> Samples:
    """Run the file on test data, and return the first values beside the module's.

    Args:
        session: The loaded file.
        signature: The graph's inputs and outputs.
        case: The test data, with the module's outputs.
        is_real: Whether the inputs are observed ones, so that images may be shown.
    """
    assert case.expected is not None
    answers = session.run(feeds(signature.inputs, case.tensors))
    outputs = {
        spec.name: (_rows(own), _rows(to_tensor(answers[spec.name])))
        for spec, own in list(zip(signature.outputs, case.expected, strict=True))[:_OUTPUTS]
        if own.dim() and not own.is_complex() and spec.dtype in _SHOWN
    }
    return Samples(outputs, tuple(_images(case.tensors)) if is_real else ())


def _rows(values: Tensor) -> Rows:
    rows = values.detach().cpu().double()[:_ROWS]
    return tuple(tuple(map(_number, row.flatten()[:_VALUES].tolist())) for row in rows)


def _number(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _images(tensors: Sequence[Tensor]) -> list[str]:
    """Return the only input that is an image as PNGs, stretched to the whole range; none without Pillow."""
    found = [image for tensor in tensors if (image := _as_image(tensor)) is not None]
    if len(found) != 1 or importlib.util.find_spec("PIL") is None:
        return []
    from PIL import Image

    made = []
    for row in found[0][:_ROWS]:
        low, high = row.min(), row.max()
        scaled = (row - low) / (high - low) if bool(high > low) else torch.zeros_like(row)
        pixels = (scaled * 255).round().to(torch.uint8).squeeze(-1).numpy()
        picture, written = Image.fromarray(pixels), io.BytesIO()
        picture.thumbnail((_SIDE, _SIDE))
        picture.save(written, "PNG", optimize=True)
        made.append(base64.b64encode(written.getvalue()).decode())
    return made


def _as_image(tensor: Tensor) -> Tensor | None:
    """Return ``[batch, height, width, channels]`` as floats, None if a tensor does not look like images."""
    if tensor.dim() != 4 or tensor.is_complex() or tensor.dtype == torch.bool:
        return None
    values = tensor.detach().cpu().float()
    if tensor.shape[1] in (1, 3) and min(tensor.shape[2:]) >= 8:
        values = values.permute(0, 2, 3, 1)
    elif tensor.shape[3] not in (1, 3) or min(tensor.shape[1:3]) < 8:
        return None
    return values if bool(torch.isfinite(values).all()) else None
