"""Writes test data in ONNX's own layout, ``test_data_set_0/input_0.pb`` and ``output_0.pb``, for onnxruntime's tools.

Unless asked for otherwise, the values are synthetic, so that no training data travels: shapes and dtypes are those of
the observed inputs, floats have their mean and spread, integers their range.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.calls.signature import Signature

_TRIES = 4
_MARGIN = 0.01

Reference = Callable[[Sequence[Tensor]], list[Tensor]]


def write_test_data(
    directory: Path, signature: Signature, tensors: Sequence[Tensor], reference: Reference, kind: str
) -> str | None:
    """Write inputs, and the module's outputs for them.

    Args:
        directory: The ``test_data_set_0`` to make.
        signature: Names of the inputs and outputs.
        tensors: Observed inputs, whose statistics the synthetic ones take.
        reference: The module: flat tensors in, flat tensors out.
        kind: ``"synthetic"`` or ``"observed"``.

    Returns:
        None, or why nothing was written.
    """
    for inputs in _synthetic(tensors) if kind == "synthetic" else [tuple(tensors)]:
        try:
            outputs = reference(inputs)
        except Exception:  # a module may refuse values that do not occur in training
            continue
        if all(bool(torch.isfinite(o).all()) for o in outputs):
            _write(directory, "input", [s.name for s in signature.inputs], inputs)
            _write(directory, "output", [s.name for s in signature.outputs], outputs)
            return None
    return f"no test data: the module gives no finite outputs on {kind} inputs"


def _write(directory: Path, kind: str, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
    from onnx import numpy_helper

    directory.mkdir(exist_ok=True)
    for i, (name, tensor) in enumerate(zip(names, tensors, strict=True)):
        proto = numpy_helper.from_array(to_numpy(tensor), name)
        (directory / f"{kind}_{i}.pb").write_bytes(proto.SerializeToString(deterministic=True))


def _synthetic(tensors: Sequence[Tensor]) -> list[tuple[Tensor, ...]]:
    """Return sets of inputs to try, the same for the same observed inputs; in the last one all booleans are true."""
    sets = []
    for seed in range(_TRIES):
        generator = torch.Generator().manual_seed(seed)
        open_masks = seed == _TRIES - 1
        sets.append(tuple(_like(t, generator, open_masks) for t in tensors))
    return sets


def _like(tensor: Tensor, generator: torch.Generator, open_mask: bool) -> Tensor:
    if tensor.numel() == 0:
        return tensor.clone()
    if tensor.dtype == torch.bool:
        share = 1.0 if open_mask else float(tensor.double().mean())
        return torch.rand(tensor.shape, generator=generator) < share
    if tensor.is_complex():
        parts = torch.view_as_real(tensor)
        return torch.view_as_complex(_like(parts, generator, open_mask).contiguous())
    if tensor.is_floating_point():
        finite = tensor.double()[torch.isfinite(tensor)]
        if not finite.numel():
            return torch.zeros_like(tensor)
        mean, spread = finite.mean(), finite.std(correction=0)
        drawn = torch.randn(tensor.shape, generator=generator, dtype=torch.float64) * spread + mean
        low, high = float(finite.min()), float(finite.max())
        margin = _MARGIN * (high - low)  # the extremes themselves are training data
        return drawn.clamp(low + margin, high - margin).to(tensor.dtype)
    low, high = int(tensor.min()), int(tensor.max())
    return torch.randint(low, high + 1, tensor.shape, generator=generator, dtype=tensor.dtype)
