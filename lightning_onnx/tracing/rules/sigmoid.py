"""The sigmoid followed by an operator that distinguishes small numbers, such as a logarithm."""

from __future__ import annotations

import operator
from collections.abc import Mapping

import torch
from torch import Tensor, fx

from lightning_onnx.tracing.rules.base import Rule, aten

_READ_SMALL: Mapping[object, int] = {
    aten.log.default: 0,
    aten.log2.default: 0,
    aten.log10.default: 0,
    aten.logit.default: 0,
    aten.special_logit.default: 0,
    aten.reciprocal.default: 0,
    aten.rsqrt.default: 0,
    aten.div.Tensor: 1,
    aten.xlogy.Tensor: 1,
    aten.special_entr.default: 0,
    aten.binary_cross_entropy.default: 0,
}
"""Operators that distinguish small numbers, each with the index of that operand."""

_KEEP_SMALL = frozenset(
    {
        *(aten.add.Tensor, aten.sub.Tensor, aten.rsub.Scalar, aten.mul.Tensor, aten.where.self),
        *(aten.clamp.default, aten.clamp_min.default, aten.cat.default, aten.stack.default, aten.unbind.int),
        *(aten.view.default, aten.reshape.default, aten.squeeze.dim, aten.unsqueeze.default, aten.expand.default),
        *(aten.slice.Tensor, aten.select.int, aten.index.Tensor, aten.gather.default, aten.flatten.using_ints),
        *(aten.transpose.int, aten.permute.default, aten.clone.default, operator.getitem),
    }
)
"""Operators whose results still depend on a small operand: ``(sigmoid(x) + 1e-12).log()``."""


def _is_small_number_read(node: fx.Node) -> bool:
    """Tell whether another operator distinguishes small results of a node."""
    pending, seen = [node], {node}
    while pending:
        now = pending.pop()
        for user in now.users:
            place = _READ_SMALL.get(user.target)
            if place is not None and len(user.args) > place and user.args[place] is now:
                return True
            if user.target in _KEEP_SMALL and user not in seen:
                seen.add(user)
                pending.append(user)
    return False


def sigmoid(x: Tensor) -> object:
    """Return ``1 / (1 + exp(-x))`` without losing values below 2e-8."""
    if not x.is_floating_point():
        return NotImplemented
    small = (-x.abs()).exp()
    return torch.where(x < 0, small, 1.0) / (1 + small)


RULES = (
    Rule(
        (aten.sigmoid.default,),
        sigmoid,
        "onnxruntime's Sigmoid is 0 below -18, and the logarithm of that is -inf: likelihoods from probabilities.",
        needed_in=_is_small_number_read,
    ),
)
