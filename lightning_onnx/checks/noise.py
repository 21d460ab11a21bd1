"""Excuses differences that rounding or random numbers cause in the module itself: they are not errors of the file.

Detectors with untrained weights choose boxes by scores that differ only by noise: no other program, not even the module
on another machine, can choose the same ones.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor

from lightning_onnx.checks.base import CheckContext
from lightning_onnx.checks.comparison import Array, Comparison, compare_arrays
from lightning_onnx.checks.scales import Scales
from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import WAYS
from lightning_onnx.module.random_state import advance, random_states_kept

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
        advance(())
        again = (context.module.redrawn or context.module.reference)(case.tensors)
    return tuple(
        spec.name
        for spec, a, b in zip(context.signature.outputs, expected, again, strict=False)
        if a.shape != b.shape or not torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
    )


class ChangedRuns:
    """The module's outputs by name, for each kind of difference that another program may have.

    Each kind is run when it is first iterated over, and kept. Where the module does not run, there are no outputs.

    Args:
        context: The module and the names of its outputs.
        case: The inputs.
    """

    def __init__(self, context: CheckContext, case: Case) -> None:
        self.outputs = context.signature.outputs
        self._context = context
        self._case = case
        self._runs: list[dict[str, Array]] = []

    def __iter__(self) -> Iterator[dict[str, Array]]:
        """Yield the outputs, an empty dict where the module does not run."""
        for way in range(WAYS):
            if way == len(self._runs):
                self._runs.append(self._run(way))
            yield self._runs[way]

    def _run(self, way: int) -> dict[str, Array]:
        try:
            tensors = self._context.module.perturbed(self._case.tensors, way)
        except Exception:  # it does not run with this change, which says nothing about its outputs
            log.debug("the module does not run in way %d", way, exc_info=True)
            return {}
        if len(tensors) != len(self.outputs):
            return {}
        return {spec.name: to_numpy(t) for spec, t in zip(self.outputs, tensors, strict=True)}


def excuse_noise(
    comparisons: Sequence[Comparison],
    changed: ChangedRuns,
    expected: Sequence[Tensor],
    scales: Mapping[str, Scales] = MappingProxyType({}),
) -> list[Comparison]:
    """Return comparisons with ``excuse="noise"`` if rounding changes the module's own output as much.

    Args:
        comparisons: The comparisons of all outputs of one case.
        changed: The module's outputs for that case with harmless changes of its computation.
        expected: The module's outputs.
        scales: The scales used for outputs, by name; other outputs use the default scales.
    """
    judged = list(comparisons)
    arrays = {spec.name: to_numpy(t) for spec, t in zip(changed.outputs, expected, strict=False)}
    runs = iter(changed)
    while any(_may_be_noise(c) for c in judged) and (outputs := next(runs, None)) is not None:
        judged = [
            dataclasses.replace(c, excuse="noise")
            if _may_be_noise(c) and _is_noise(c, arrays[c.output], outputs, scales.get(c.output))
            else c
            for c in judged
        ]
    return judged


def _may_be_noise(found: Comparison) -> bool:
    """Tell whether a problem is in values or a shape: rounding causes no other dtype and no error of a runtime."""
    return found.is_failure and found.kind is not None


def _is_noise(found: Comparison, expected: Array, changed: Mapping[str, Array], scales: Scales | None) -> bool:
    """Tell whether a problem is no larger than the module's own noise in the same output, with default tolerances."""
    if found.output not in changed:
        return False
    own = compare_arrays(found.output, expected, changed[found.output], scales=scales)
    is_near = found.max_abs_diff <= _MARGIN * own.max_abs_diff
    if found.sliced:
        is_near = found.max_rel_diff <= _MARGIN * own.max_rel_diff
    if found.is_small and is_near:
        return True
    if own.problem is None or own.kind is None:
        return False
    if "shape" in (found.kind, own.kind):
        return found.kind == own.kind
    is_near |= "finite" in (found.kind, own.kind)  # NaN has no distance
    return is_near and found.outside <= _MARGIN * own.outside
