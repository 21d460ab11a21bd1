"""Traces again on other inputs, where a graph is wrong because of what the method skipped in the traced call."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_onnx.errors import EngineError
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.cases import Case
from lightning_onnx.module.decisions.search import search_once
from lightning_onnx.module.runner import Runner
from lightning_onnx.pipeline.candidate import Candidate, try_engine
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.search_limit import SearchLimit

log = logging.getLogger(__name__)

_DECISIONS = 2
"""Maximum number of inputs that change a decision on which a graph is traced."""


_NEAR = 3
"""Inputs near those of the first trace on which another trace must be right."""


class _Trace(NamedTuple):
    tensors: tuple[Tensor, ...]
    label: str


def traced_at_other_sizes(
    candidate: Candidate, run: Runner, request: Request, config: ExportConfig
) -> Candidate | None:
    """Trace again at sizes at which the graph was wrong; return None if the new graph is not right at all sizes either.

    At a size that needs no padding, a module may skip padding and cropping. Traced at a size that needs it, the graph
    does both.

    Args:
        candidate: The graph that is wrong at some sizes.
        run: Runs the module.
        request: The requested graph.
        config: The options.
    """
    traced = request.sizes(request.tensors)
    other = dict(traced)
    for dim in candidate.wrong:
        sizes = {request.sizes(case.tensors)[dim] for case in candidate.wrong_cases} - {1, traced[dim]}
        if not sizes:
            return None
        other[dim] = min(sizes, key=lambda n: (n % 2 == 0, n))  # odd ones need padding more often
    tensors = request.resized(other)
    if other == traced or run(tensors) is None:
        return None
    again = _traced(_Trace(tensors, f"at {other}"), candidate, run, request, config, candidate.cases)
    return again if again is not None and again.is_right else None


def traced_with_other_decisions(
    candidate: Candidate, run: Runner, request: Request, config: ExportConfig, limit: SearchLimit
) -> Candidate | None:
    """Trace again on inputs on which the method decides differently; return None if no such graph is right either.

    A method may skip work that would change nothing: a mask that hides nothing, an expert without rows. Traced on
    inputs that need the work, the graph always does it, and is right on both kinds of inputs.

    Args:
        candidate: The graph that keeps the decisions of the traced call, and is wrong.
        run: Runs the module.
        request: The requested graph.
        config: The options.
        limit: How long the search may take.
    """
    if not _keeps_a_branch(candidate, run, request):
        return None
    cases = (*candidate.cases, *_near(request, run))
    for trace in _deciding_otherwise(candidate):
        again = None if limit.is_over() else _traced(trace, candidate, run, request, config, cases)
        if again is not None and again.is_right_at_all_sizes:
            return again
    return None


def _keeps_a_branch(candidate: Candidate, run: Runner, request: Request) -> bool:
    """Tell whether a graph keeps a branch, and not only numbers or the steps of a loop, which any trace keeps."""
    kept = candidate.decisions
    if kept.loops or not (candidate.graph.traced.kept or kept.changed or kept.unchanged):
        return False
    searched = search_once(run, request)
    traced = searched.traced
    branches = traced.has_value_sizes or any(map(traced.is_condition, traced.sites()))
    return branches or bool(searched.flipped_lines)


def _deciding_otherwise(candidate: Candidate) -> Iterator[_Trace]:
    """Yield inputs on which the graph is wrong, and the observed call with the most values: it may need all work."""
    decisions = [case for case in candidate.wrong_cases if case.kind == "decision"]
    observed = [case for case in candidate.cases if case.kind == "observed"]
    if observed:
        decisions.insert(1, max(observed, key=lambda case: sum(t.numel() for t in case.tensors)))
    for case in decisions[: _DECISIONS + 1]:
        yield _Trace(case.tensors, f"on {case.label}")


def _near(request: Request, run: Runner) -> Iterator[Case]:
    """Yield values near those of the traced call: on ones, for example, ``x * 2`` and ``x + 1`` agree by chance."""
    generator = torch.Generator().manual_seed(0)
    for number in range(_NEAR):
        tensors = tuple(_moved(t, generator) for t in request.tensors)
        outputs = run(tensors)
        if outputs is not None:
            label = f"values near those of the traced call ({number + 1})"
            yield Case(label, tensors, outputs.tensors, kind="decision")


def _moved(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return floats moved by a tenth of their usual size; other tensors stay."""
    if not tensor.is_floating_point() or not tensor.numel():
        return tensor
    step = 0.1 * (float(tensor.abs().mean()) or 1.0)
    return tensor + step * torch.randn(tensor.shape, generator=generator).to(tensor.dtype)


def _traced(
    trace: _Trace,
    candidate: Candidate,
    run: Runner,
    request: Request,
    config: ExportConfig,
    cases: Sequence[Case],
) -> Candidate | None:
    try:
        return try_engine(
            candidate.engine,
            run,
            dataclasses.replace(request, tensors=trace.tensors),
            config,
            others=[candidate],
            further_cases=cases,
        )
    except EngineError as error:
        log.debug("engine %s, traced %s: %s", candidate.engine.name, trace.label, error)
        return None
