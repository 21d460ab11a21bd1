"""Excuses differences that rounding or random numbers cause in the module itself: they are not errors of the file.

Detectors with untrained weights choose boxes by scores that differ only by noise: no other program, not even the module
on another machine, can choose the same ones.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_onnx.checks.base import CheckContext, CheckedModule
from lightning_onnx.checks.comparison import Array, Comparison, compare_arrays, tolerances
from lightning_onnx.checks.scales import Scales, is_sliced, scales_of
from lightning_onnx.checks.slices import decisive_part
from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import FURTHER, TIES, WAYS
from lightning_onnx.module.random_state import advance, random_states_kept

Compare = Callable[[str, Array, Array, Scales | None], Comparison]
"""Compares an output by name, the module's array and the runtime's, with the scale of each element."""

log = logging.getLogger(__name__)

_MARGIN = 10
"""A difference may be this many times larger than the module's own noise."""

_DRAWS = 8
"""Other random numbers to try: a decision by a coin falls alike in all of them once in 256 times."""

_LEAST_SHARE = 0.5
"""An output is not right because of a smaller part that rounding happens not to change."""


def find_random_outputs(context: CheckContext, case: Case, expected: Sequence[Tensor]) -> tuple[str, ...]:
    """Return the outputs that differ between calls of the module on the same inputs: it draws random numbers.

    Args:
        context: The module and the names of its outputs.
        case: The inputs.
        expected: The outputs of the first call.
    """
    if not context.module.is_stochastic:
        return ()
    names = [spec.name for spec in context.signature.outputs]
    return differing_when_redrawn(names, expected, lambda times: _redrawn(context.module, case, times))


def _redrawn(module: CheckedModule, case: Case, times: int) -> list[Tensor]:
    if module.redrawn is not None:
        return module.redrawn(case.tensors, times)
    with random_states_kept(include_cuda=False):
        for _ in range(times):  # the reference restores the random state: without this, all calls draw the same numbers
            advance(())
        return module.reference(case.tensors)


def differing_when_redrawn(
    names: Sequence[str], expected: Sequence[Tensor], redrawn: Callable[[int], Sequence[Tensor]]
) -> tuple[str, ...]:
    """Return the names of outputs that differ with other random numbers; several are tried, as a coin may fall alike.

    Args:
        names: Names of the outputs.
        expected: The outputs of a call.
        redrawn: Returns the outputs of a call on the same inputs, with the random numbers drawn so many numbers later.
    """
    found: set[int] = set()
    for times in range(1, _DRAWS + 1):
        again = redrawn(times)
        found |= {i for i, (a, b) in enumerate(zip(expected, again, strict=False)) if not _is_equal(a, b)}
        if len(found) == len(names):
            break
    return tuple(name for i, name in enumerate(names) if i in found)


def _is_equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))


def has_hidden_state(context: CheckContext, case: Case, compare: Compare) -> bool:
    """Return whether further calls of the module return other values, from the same state and random numbers.

    Then something that a call changes cannot be put back, and no difference says anything about rounding.

    Args:
        context: The module and the names of its outputs.
        case: The inputs, which the module takes.
        compare: Compares an output.
    """
    expected = context.reference(case.tensors) if case.expected is None else case.expected
    for _ in range(2):  # two in a row, because one may come round to the first again
        try:
            again = context.reference(case.tensors)
        except Exception:  # such as an iterator that has ended
            return True
        rows = zip(context.signature.outputs, expected, again, strict=False)
        changed = [(spec.name, a, b) for spec, a, b in rows if not _is_equal(a, b)]
        if any(compare(name, to_numpy(a), to_numpy(b), None).problem is not None for name, a, b in changed):
            return True
    return False


class ChangedRuns:
    """The module's outputs by name, for each kind of difference that another program may have.

    Each kind is run when it is first asked for, and kept. Where the module does not run, there are no outputs.

    Args:
        context: The module and the names of its outputs.
        case: The inputs.
    """

    def __init__(self, context: CheckContext, case: Case) -> None:
        self.outputs = context.signature.outputs
        self._context = context
        self._case = case
        self._runs: dict[int, dict[str, Array]] = {}

    def _of_way(self, way: int) -> dict[str, Array]:
        if way not in self._runs:
            self._runs[way] = self._run(way)
        return self._runs[way]

    def of(self, output: str) -> Iterator[Array]:
        """Yield the arrays of one output, without runs that have none; of integers, which may be choices, more of them.

        Args:
            output: Name of the output.
        """
        are_choices = False
        for way in itertools.chain(range(WAYS), FURTHER):
            if way >= WAYS and not are_choices:
                return
            array = self._of_way(way).get(output)
            if array is not None:
                are_choices = array.dtype.kind in "iu"
                yield array

    def depend_on_ties(self, output: ComparedOutput) -> bool:
        """Tell whether an output changes if only the order of equal values does.

        Args:
            output: The output.
        """
        reversed_ties = self._of_way(TIES).get(output.name)
        return reversed_ties is not None and _differ(output, reversed_ties)

    def _run(self, way: int) -> dict[str, Array]:
        try:
            tensors = self._context.module.perturbed(self._case.tensors, way)
        except Exception:  # it does not run with this change, which says nothing about its outputs
            log.debug("the module does not run in way %d", way, exc_info=True)
            return {}
        if len(tensors) != len(self.outputs):
            return {}
        return {spec.name: to_numpy(t) for spec, t in zip(self.outputs, tensors, strict=True)}


def excuse_noise(output: ComparedOutput, changed: ChangedRuns, compare: Compare) -> Comparison:
    """Return the comparison with ``excuse="noise"`` if rounding changes the module's own output as much.

    Where it changes only some slices of the output, the others decide (see ``slices``): if they are wrong, or if they
    are right and at least half of the output. Where the order of equal values changes it, none does: if all scores of a
    router are equal, the file may choose experts that no changed run has chosen.

    Args:
        output: The output, with a comparison that may have a problem.
        changed: The module's outputs for that case with harmless changes of its computation.
        compare: Compares a part of the output.
    """
    judged = _excused(output, changed.of(output.name))
    if judged.excuse != "noise" or not judged.is_undecided or changed.depend_on_ties(output):
        return judged
    part = decisive_part(*output.arrays, changed.of(output.name), tolerances(output.expected.dtype), output.scales)
    if part is None:
        return judged
    rest = output.only(part.elements, compare)
    of_part = (array[part.elements] for array in changed.of(output.name))
    decided = dataclasses.replace(_excused(rest, of_part), left_out=str(part))
    is_too_little = not decided.is_failure and part.share < _LEAST_SHARE
    return judged if decided.is_undecided or is_too_little else decided


@dataclasses.dataclass(frozen=True)
class ComparedOutput:
    """One output of a case, and its comparison.

    Attributes:
        expected: The module's array.
        actual: The runtime's array.
        comparison: The comparison of the two.
        scales: The scale of each element; None for the default.
    """

    expected: Array
    actual: Array
    comparison: Comparison
    scales: Scales | None = None

    @property
    def name(self) -> str:
        """Name of the output."""
        return self.comparison.output

    @property
    def arrays(self) -> tuple[Array, Array]:
        """The module's array, and the runtime's."""
        return self.expected, self.actual

    def only(self, elements: NDArray[np.bool_], compare: Compare) -> ComparedOutput:
        """Return a part of the output, compared with the scales of the whole.

        Args:
            elements: Whether an element belongs to the part.
            compare: Compares.
        """
        scales = scales_of(self.expected) if self.scales is None else self.scales
        scales = np.broadcast_to(scales, self.expected.shape)[elements] if is_sliced(scales) else scales
        arrays = self.expected[elements], self.actual[elements]
        found = dataclasses.replace(compare(self.name, *arrays, scales), top1_agreement=None)
        return ComparedOutput(*arrays, found, scales)


def _excused(output: ComparedOutput, runs: Iterable[Array]) -> Comparison:
    """Return the comparison, excused if one of the runs differs as much; no run is made if there is no need."""
    found = output.comparison
    if _may_be_noise(found) and any(_is_noise(output, array) for array in runs):
        return dataclasses.replace(found, excuse="noise")
    return found


def _differ(output: ComparedOutput, changed: Array) -> bool:
    return compare_arrays(output.name, output.expected, changed, scales=output.scales).problem is not None


def _may_be_noise(found: Comparison) -> bool:
    """Tell whether a problem is in values or a shape: rounding causes no other dtype and no error of a runtime."""
    return found.is_failure and found.kind is not None


def _is_noise(output: ComparedOutput, changed: Array) -> bool:
    """Tell whether a problem is no larger than the module's own noise in the same output, with default tolerances."""
    found = output.comparison
    own = compare_arrays(found.output, output.expected, changed, scales=output.scales)
    is_near = found.max_abs_diff <= _MARGIN * own.max_abs_diff
    if found.sliced and not found.is_residue:
        is_near = found.max_rel_diff <= _MARGIN * own.max_rel_diff
    is_as_frequent = found.outside <= _MARGIN * own.outside
    if found.is_small and is_near and (is_as_frequent or not found.is_of_pixels):
        return True
    if own.problem is None or own.kind is None:
        return False
    if "shape" in (found.kind, own.kind):
        return found.kind == own.kind
    is_near |= "finite" in (found.kind, own.kind)  # NaN has no distance
    return is_near and is_as_frequent
