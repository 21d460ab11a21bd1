"""Losses: on logits far from 0, on probabilities as targets, with label smoothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lightning_onnx.tracing.rules.base import Call, Rule, aten, is_float, value
from lightning_onnx.tracing.rules.elementwise import log_sigmoid


def binary_cross_entropy_with_logits(
    x: Tensor, target: Tensor, weight: Tensor | None = None, pos_weight: Tensor | None = None, reduction: int = 1
) -> Tensor:
    """See the formula in the documentation of ``BCEWithLogitsLoss``, with the logarithm of the sigmoid as one."""
    factor = 1 if pos_weight is None else (pos_weight - 1) * target + 1
    loss = (1 - target) * x - factor * log_sigmoid(x)
    return _reduced(loss if weight is None else loss * weight, reduction)


def cross_entropy(
    x: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: int = 1,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """See the formulas in the documentation of ``CrossEntropyLoss``."""
    dim = min(x.dim() - 1, 1)
    logs = functional.log_softmax(x, dim)
    classes = x.shape[dim]
    if target.is_floating_point():
        target = target * (1 - label_smoothing) + label_smoothing / classes if label_smoothing else target
        loss = -(_weighted(logs, weight, dim) * target).sum(dim)
        return loss.sum() / (loss.numel() or 1) if reduction == 1 else _reduced(loss, reduction)
    if not label_smoothing:
        return NotImplemented  # type: ignore[no-any-return]
    kept = target != ignore_index
    target = torch.where(kept, target, 0)
    chosen = logs.gather(dim, target.unsqueeze(dim)).squeeze(dim)
    share = torch.ones_like(chosen) if weight is None else weight[target]
    others = _weighted(logs, weight, dim).sum(dim) / classes
    loss = torch.where(kept, -((1 - label_smoothing) * share * chosen + label_smoothing * others), 0.0)
    return loss.sum() / torch.where(kept, share, 0.0).sum() if reduction == 1 else _reduced(loss, reduction)


def _weighted(logs: Tensor, weight: Tensor | None, dim: int) -> Tensor:
    """Multiply by the weights of the classes, which are along a dim."""
    return logs if weight is None else logs * weight.view([-1 if d == dim else 1 for d in range(logs.dim())])


def _reduced(loss: Tensor, reduction: int) -> Tensor:
    """Reduce as ``at::Reduction`` counts: 0 not at all, 1 by the mean, 2 by the sum."""
    return loss if reduction == 0 else loss.mean() if reduction == 1 else loss.sum()


def _is_smoothed_or_soft(call: Call) -> bool:
    return is_float(value(call.args[1])) or (len(call.args) > 5 and bool(call.args[5]))


RULES = (
    Rule(
        (aten.binary_cross_entropy_with_logits.default,),
        binary_cross_entropy_with_logits,
        "The exporter takes the logarithm of a sigmoid, which is -inf for logits below -19.",
    ),
    Rule(
        (aten.cross_entropy_loss.default,),
        cross_entropy,
        "The exporter leaves out label smoothing, and writes an invalid graph if targets are probabilities.",
        _is_smoothed_or_soft,
    ),
)
