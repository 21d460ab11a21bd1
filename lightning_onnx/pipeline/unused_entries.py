"""Which entries of arguments, such as the labels of a batch, a graph can do without: those that no observed call needs.

What a method reads may depend on sizes, so one call does not tell.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Iterator, Sequence

import torch
from torch import Tensor

from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import BATCH
from lightning_onnx.module.probing import cut_rows
from lightning_onnx.module.runner import Runner

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class EntriesRead:
    """What the observed calls read; nothing is known if that cannot be seen.

    Attributes:
        never: Indices of the inputs that no call reads.
        sometimes: Indices of the inputs that some calls read, and others do not.
    """

    never: frozenset[int] = frozenset()
    sometimes: frozenset[int] = frozenset()

    @classmethod
    def by(cls, run: Runner, request: Request) -> EntriesRead:
        """Return what the traced call, the observed calls and a call of the largest observed sizes read.

        Args:
            run: Runs the module with all inputs.
            request: The request with all inputs.
        """
        return cls._of(run, _calls(request))

    @classmethod
    def _of(cls, run: Runner, calls: Iterator[Sequence[Tensor]]) -> EntriesRead:
        never: frozenset[int] | None = None
        ever = frozenset[int]()
        for tensors in calls:
            try:
                untouched = frozenset(run.flat.untouched(tensors))
            except Exception:
                if run(tensors) is None:
                    continue  # a size that the module does not take
                log.debug("what a call reads cannot be seen", exc_info=True)  # a mode may not know an operator
                return cls()
            never = untouched if never is None else never & untouched
            ever |= untouched
        return cls(never or frozenset(), ever - (never or frozenset()))


def have_same_results(run: Runner, request: Request, reduced: Runner, unused: Collection[int]) -> bool:
    """Tell whether all calls that the module takes have the same results with constants for some inputs.

    Args:
        run: Runs the module with all inputs.
        request: The request with all inputs.
        reduced: Runs the module with constants for ``unused``.
        unused: Indices of inputs.
    """
    for tensors in _calls(request):
        expected = run(tensors)
        if expected is None:
            continue
        found = reduced([tensor for i, tensor in enumerate(tensors) if i not in unused])
        if found is None or len(found.tensors) != len(expected.tensors):
            return False
        if not run.flat.has_drawn and not all(map(_is_same, expected.tensors, found.tensors)):
            return False
    return True


def are_needed(places: Collection[int], run: Runner, observation: Observation) -> bool:
    """Tell whether one of the observed calls reads inputs that another does not read.

    Args:
        places: Indices of the inputs.
        run: Runs the module with all inputs.
        observation: The calls, with all inputs.
    """
    read = EntriesRead._of(run, (sample.tensors for sample in observation.samples))
    return not read.sometimes.isdisjoint(places)


def _calls(request: Request) -> Iterator[Sequence[Tensor]]:
    yield request.tensors
    cut = (cut_rows(sample.tensors, request) for sample in request.samples)
    yield from (tensors for tensors in cut if not all(map(_is_same, tensors, request.tensors)))
    largest = {dim: max(sizes) for dim, sizes in request.seen.items() if sizes and dim != BATCH}
    if largest:
        yield request.resized(largest)


def _is_same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(torch.nan_to_num(one), torch.nan_to_num(other))
