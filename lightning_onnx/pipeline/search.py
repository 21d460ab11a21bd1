"""Searches for a graph that is right at all its sizes: tries engines in order, and makes dims static if none works."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence

from lightning_onnx.checks.judged import Judged
from lightning_onnx.errors import EngineError, SearchTooLong
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import BATCH
from lightning_onnx.module.cases import Case
from lightning_onnx.module.decisions.record import record
from lightning_onnx.module.decisions.search import search_once
from lightning_onnx.module.probing import cases_of
from lightning_onnx.module.runner import Runner
from lightning_onnx.pipeline import advice, search_notes
from lightning_onnx.pipeline.candidate import Candidate, try_engine
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.decisions import KeptDecisions
from lightning_onnx.pipeline.limits import limits_of_module
from lightning_onnx.pipeline.other_traces import traced_at_other_sizes, traced_with_other_decisions
from lightning_onnx.pipeline.search_limit import ENDED, SearchLimit
from lightning_onnx.pipeline.splitting import decides_by_sizes, split
from lightning_onnx.pipeline.widening import Limited, limited, widest
from lightning_onnx.tracing.base import Engine
from lightning_onnx.tracing.engines import failure, order, refusals_of
from lightning_onnx.tracing.graph import Graph
from lightning_onnx.tracing.piecewise import Piecewise
from lightning_onnx.tracing.refusals import Refusals
from lightning_onnx.tracing.remembered import Remembered

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class FoundGraph:
    """The result of a search.

    Attributes:
        graph: The graph.
        cases: Inputs on which the graph is right.
        notes: What the user should know.
        decisions: The decisions of the traced call that the graph keeps.
        judged: How the cases were judged.
    """

    graph: Graph
    cases: tuple[Case, ...]
    notes: tuple[str, ...]
    decisions: KeptDecisions
    judged: Judged


def find_graph(
    run: Runner,
    request: Request,
    config: ExportConfig,
    refusals: Refusals,
    limit: SearchLimit,
    *,
    refuse_decisions: bool = True,
) -> FoundGraph:
    """Try the engines; a dim that none of them gets right at every size becomes static, with a note.

    Args:
        run: Runs the module.
        request: The requested graph; its dims may become static one by one.
        config: The options.
        refusals: What engines have refused in this run; new refusals are added.
        limit: How long the search may take.
        refuse_decisions: Whether to raise if a graph is wrong only where the method decides differently from the traced
            call; otherwise the check of the trained weights fails later.

    Raises:
        EngineError: If no engine translates the module, or none can keep a dim dynamic that the user requested.
        ParityError: If the best graph is wrong at the traced sizes.
        NotReadyError: If it is wrong where NaN or infinity is, and weights are not finite.
        SearchTooLong: If the time is over before there is a graph that is right at the traced sizes.
    """
    tried = order(config.engine, config.opset, config.export_options or (), keeps_program=config.keeps_program)
    engines: list[Engine] = [Remembered(engine, refusals, limit.of_trace) for engine in tried]
    notes: list[str] = []
    while True:
        candidates, errors = _try_engines(engines, run, request, config, limit)
        if not candidates:
            request, candidates, note = _refused(engines, run, request, config, limit, errors)
            notes.append(note)
        best = min(candidates, key=lambda c: c.badness)
        if not best.is_right_at_all_sizes:
            again = traced_with_other_decisions(best, run, request, config, limit)
            candidates, best = ([*candidates, again], again) if again is not None else (candidates, best)
        if best.wrong_as_traced and best.wrong_as_traced.case is best.cases[0]:  # so that values are not the cause
            instead = _static_instead(engines, run, request, config, limit, errors)
            if instead is not None:
                request, candidates, note = instead
                notes.append(note)
                best = min(candidates, key=lambda c: c.badness)
        if best.wrong_as_traced and (refuse_decisions or best.wrong_as_traced.case.kind != "decision"):
            raise search_notes.wrong_as_traced(best, run, config, refusals_of(errors))
        found = None
        if best.wrong_as_traced is None:  # else a decision by values is the cause, at other sizes too
            if not best.is_right_at_all_sizes and not _tells_pieces(candidates) and not limit.is_over():
                candidates = [*candidates, *_elsewhere_or_split(best, run, request, config)]
            found = _within_limits(candidates, run, config, limit)
        static = search_notes.static_dims(best) if found is None else {}
        if found is None and not static:
            found = Limited(best)
        if found is not None and not limit.is_over():
            found = widest(found, functools.partial(_attempt, run=run, config=config), run, config)
        if found is not None and found.unseen:
            static = search_notes.beyond_what_was_seen(found.candidate, found.limits, found.unseen)
        elif found is not None:
            best = found.candidate
            ranges = limits_of_module(best, run) | found.ranges
            notes += [] if best.is_right else search_notes.limits(best, found.limits)
            notes += [ENDED] if limit.was_over else []
            cases = best.cases_within(ranges)
            return FoundGraph(best.graph.limited(ranges), cases, tuple(notes), best.decisions, best.judged)
        if config.dynamic_axes != "auto":
            helps = advice.for_static_dims(list(static), best.engine, run, request, config)
            raise search_notes.cannot_be_dynamic(static, refusals_of(errors), helps)
        notes += static.values()
        request = request.static(list(static))
        engines = sorted(engines, key=lambda e: e.name != best.engine.name)  # the best one first, the others in order


def _try_engines(
    engines: Sequence[Engine], run: Runner, request: Request, config: ExportConfig, limit: SearchLimit
) -> tuple[list[Candidate], list[EngineError]]:
    """Try engines up to the first whose graph is right; return the graphs, and the errors of the other engines.

    Where the time is over, the first engine is tried, and the others only until one graph is right as traced.
    """
    candidates: list[Candidate] = []
    errors: list[EngineError] = []
    for engine in engines:
        if (candidates or errors) and limit.is_over():
            if _is_one_right_as_traced(candidates):
                break
            raise SearchTooLong(f"{type(run.flat.module).__name__} has no graph yet: {ENDED}")
        if engine.needs_refusal and not _refused_for_values(errors):
            continue
        if engine.needs_refusal and not candidates:
            candidates += _with_fixed_steps(engines, run, request, config)
        if engine.follows_values and any(_keeps_wrong_steps(candidate, run) for candidate in candidates):
            continue
        try:
            candidates.append(try_engine(engine, run, request, config, others=candidates))
        except EngineError as error:
            log.debug("engine %s: %s", engine.name, error)
            errors.append(error)
            continue
        may_split = not _tells_pieces(candidates) and not limit.is_over()
        if not candidates[-1].is_right and may_split and decides_by_sizes(candidates[-1]):
            candidates += _elsewhere_or_split(candidates[-1], run, request, config)
        if candidates[-1].is_right or (_tells_pieces(candidates) and candidates[-1].is_right_at_all_sizes):
            break
    return candidates, errors


def _with_fixed_steps(
    engines: Sequence[Engine], run: Runner, request: Request, config: ExportConfig
) -> list[Candidate]:
    """Return a graph of the TorchScript based engine if a loop's number of steps depends on values and that matters.

    All engines that follow values unroll such a loop. This one needs a second for it, the others need minutes.
    """
    engine = next((e for e in engines if e.follows_values and not e.needs_refusal), None)
    if engine is None or not search_once(run, request, cases_of(request, run)).uneven_loops:
        return []
    try:
        candidate = try_engine(engine, run, request, config, until_wrong=True)
    except EngineError as error:
        log.debug("engine %s: %s", engine.name, error)
        return []
    return [candidate] if _keeps_wrong_steps(candidate, run) else []


def _keeps_wrong_steps(candidate: Candidate, run: Runner) -> bool:
    """Tell whether a graph is wrong at the traced sizes where a loop takes another number of steps.

    A graph that is wrong on the traced call is translated wrongly, which another engine may do better.
    """
    wrong = candidate.wrong_as_traced
    if wrong is None or wrong.case is candidate.cases[0] or not candidate.decisions.loops:
        return False
    traced = record(run.flat, candidate.graph.request.tensors)
    return bool(traced.uneven_loops(record(run.flat, wrong.case.tensors, traced)))


def _refused(
    engines: Sequence[Engine],
    run: Runner,
    request: Request,
    config: ExportConfig,
    limit: SearchLimit,
    errors: Sequence[EngineError],
) -> tuple[Request, list[Candidate], str]:
    """Make dims static that no engine can keep dynamic: one dim if that is enough, or else all (the batch last).

    Args:
        engines: The engines.
        run: Runs the module.
        request: The request that the engines refuse.
        config: The options.
        limit: How long the search may take.
        errors: The errors of the engines.

    Returns:
        The request with static dims, its graphs, and a note.

    Raises:
        EngineError: If that does not help, or if the user requested the dims.
    """
    dims = sorted(request.dims, key=lambda dim: dim == BATCH)
    is_free = config.dynamic_axes == "auto"
    everything = _try_engines(engines, run, request.static(dims), config, limit)[0] if dims and is_free else []
    if not everything:
        loops = search_once(run, request).uneven_loops if _refused_for_values(errors) else frozenset()
        told = (search_notes.uneven_loops(sorted(loops)), advice.for_refusal(run, request, config))
        raise failure(errors, " ".join(sentence for sentence in told if sentence))
    error = failure(errors)
    others = [dim for dim in dims if dim != BATCH]
    for names in [*([dim] for dim in dims), others] if len(dims) > 1 else ():
        if limit.is_over():
            break
        try:
            candidates, _ = _try_engines(engines, run, request.static(names), config, limit)
        except SearchTooLong:
            break
        if _is_one_right_as_traced(candidates):
            return request.static(names), candidates, search_notes.refused(request, names, error)
    return request.static(dims), everything, search_notes.refused(request, dims, error)


def _is_one_right_as_traced(candidates: Sequence[Candidate]) -> bool:
    return any(candidate.wrong_as_traced is None for candidate in candidates)


def _static_instead(
    engines: Sequence[Engine],
    run: Runner,
    request: Request,
    config: ExportConfig,
    limit: SearchLimit,
    errors: Sequence[EngineError],
) -> tuple[Request, list[Candidate], str] | None:
    """Make dims static where some engines refuse them and the graphs of the others are wrong on the traced call.

    Returns:
        See ``_refused``; None if no engine refuses the module, or if that does not help.
    """
    if not refusals_of(errors) or not request.dims or config.dynamic_axes != "auto" or limit.is_over():
        return None
    try:
        found = _refused(engines, run, request, config, limit, errors)
    except EngineError:
        return None
    return found if _is_one_right_as_traced(found[1]) else None


def _elsewhere_or_split(candidate: Candidate, run: Runner, request: Request, config: ExportConfig) -> list[Candidate]:
    """Return another trace that is right at all sizes, or else graphs joined of several traces."""
    again = traced_at_other_sizes(candidate, run, request, config)
    if again is not None:
        return [again]
    return list(split(candidate, functools.partial(_attempt, run=run, config=config)))


def _tells_pieces(candidates: Sequence[Candidate]) -> bool:
    return any(isinstance(candidate.engine, Piecewise) for candidate in candidates)


def _within_limits(
    candidates: Sequence[Candidate], run: Runner, config: ExportConfig, limit: SearchLimit
) -> Limited | None:
    """Return the graph with the fewest and widest limits; None if no graph is right within limits of sizes."""
    ordered = sorted(candidates, key=lambda c: c.badness)
    right = next((candidate for candidate in ordered if candidate.is_right_at_all_sizes), None)
    if right is not None:
        return Limited(right)
    if limit.is_over():
        return None
    found = (limited(candidate, run, config) for candidate in ordered)
    by_pieces = sorted((one for one in found if one is not None), key=lambda one: one.pieces)
    return functools.reduce(Limited.better, by_pieces) if by_pieces else None


def _attempt(engine: Engine, request: Request, *, run: Runner, config: ExportConfig) -> Candidate:
    return try_engine(engine, run, request, config)


def _refused_for_values(errors: Sequence[EngineError]) -> bool:
    """Tell whether an engine refused the method because of a decision based on tensor values."""
    return any("data-dependent" in str(error) for error in errors)
