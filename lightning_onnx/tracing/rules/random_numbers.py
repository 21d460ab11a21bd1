"""Random numbers, made of those that ONNX has: uniform between 0 and 1."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_onnx.tracing.rules.base import Rule, aten


def uniform(x: Tensor, low: float = 0.0, high: float = 1.0, *, generator: object = None) -> Tensor:
    """Return numbers between two others."""
    return torch.rand_like(x) * (high - low) + low


def randperm(n: int | torch.SymInt, **options: object) -> Tensor:
    """Return the order of random numbers."""
    return torch.rand(n).argsort()


RULES = (
    Rule((aten.uniform.default,), uniform, "The exporter has no translation."),
    Rule((aten.randperm.default,), randperm, "The exporter has no translation."),
)
