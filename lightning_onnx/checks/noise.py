"""Excuses differences that rounding or random numbers cause in the module itself: they are not errors of the file.

Detectors with untrained weights choose boxes by scores that differ only by noise: no other program, not even the module
on another machine, can choose the same ones.
"""

from __future__ import annotations

import dataclasses
import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from lightning_onnx.checks.base import CheckContext
from lightning_onnx.checks.comparison import Array, Comparison, compare_arrays
from lightning_onnx.checks.scales import Scales
from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import WAYS
from lightning_onnx.module.random_state import random_states_kept

log = logging.getLogger(__name__)

_MARGIN = 10
"""A difference may be this many times larger than the module's own noise."""


def find_random_outputs(context: CheckContext, case: Case, expected: Sequence[Tensor]) -> tuple[str, ...]:
    """Return the outputs that differ between two calls of the module on the same inputs: it draws random numbers.

    Args:
        context: The module and the names of its outputs.
        case: The inputs.
        expected: The outputs of the first call.
    """
    if not context.module.is_stochastic:
        return ()
    with random_states_kept(include_cuda=False):
        # The reference restores the random state, so two calls would draw the same numbers without this.
        torch.rand(1), np.random.random(), random.random()
        again = context.module.reference(case.tensors)
    return tuple(
        spec.name
        for spec, a, b in zip(context.signature.outputs, expected, again, strict=False)
        if a.shape != b.shape or not torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
    )


def excuse_noise(
    comparisons: Sequence[Comparison],
    context: CheckContext,
    case: Case,
    expected: Sequence[Tensor],
    scales: Mapping[str, Scales] = MappingProxyType({}),
) -> list[Comparison]:
    """Return comparisons with ``excuse="noise"`` if rounding changes the module's own output as much.

    Args:
        comparisons: The comparisons of all outputs of one case.
        context: The module and the names of its outputs.
        case: The inputs.
        expected: The module's outputs.
        scales: The scales used for outputs, by name; other outputs use the default scales.
    """
    judged = list(comparisons)
    for seed in range(WAYS):
        if not any(c.is_failure for c in judged):
            break
        own = _own_noise(context, case, expected, seed, scales)
        judged = [
            dataclasses.replace(c, excuse="noise") if c.is_failure and _is_noise(c, own.get(c.output)) else c
            for c in judged
        ]
    return judged


def changed_outputs(context: CheckContext, case: Case) -> Iterator[dict[str, Array]]:
    """Yield the module's outputs by name, for each kind of difference that another program may have.

    Args:
        context: The module and the names of its outputs.
        case: The inputs.
    """
    for way in range(WAYS):
        yield _changed(context, case, way)


def _changed(context: CheckContext, case: Case, way: int) -> dict[str, Array]:
    try:
        tensors = context.module.perturbed(case.tensors, way)
    except Exception:  # it does not run with this change, which says nothing about its outputs
        log.debug("the module does not run in way %d", way, exc_info=True)
        return {}
    outputs = context.signature.outputs
    return {o.name: to_numpy(t) for o, t in zip(outputs, tensors, strict=True)} if len(outputs) == len(tensors) else {}


def _own_noise(
    context: CheckContext, case: Case, expected: Sequence[Tensor], way: int, scales: Mapping[str, Scales]
) -> dict[str, Comparison]:
    """Compare the module with itself after a harmless change, with default tolerances."""
    changed = _changed(context, case, way)
    return {
        spec.name: compare_arrays(spec.name, to_numpy(t), changed[spec.name], scales=scales.get(spec.name))
        for spec, t in zip(context.signature.outputs, expected, strict=False)
        if spec.name in changed
    }


def _is_noise(found: Comparison, own: Comparison | None) -> bool:
    """Tell whether a problem is no larger than the module's own noise in the same output."""
    if own is None:
        return False
    is_near = found.max_abs_diff <= _MARGIN * own.max_abs_diff
    if found.sliced:
        is_near = found.max_rel_diff <= _MARGIN * own.max_rel_diff
    if found.is_small and is_near:
        return True
    if own.problem is None or own.kind is None or found.kind is None:
        return False
    if "shape" in (found.kind, own.kind):
        return found.kind == own.kind
    is_near |= "finite" in (found.kind, own.kind)  # NaN has no distance
    return is_near and found.outside <= _MARGIN * own.outside
