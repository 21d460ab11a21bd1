"""One engine's graph, and where it differs from the module."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from lightning_onnx.checks.judged import Judged
from lightning_onnx.errors import ConfigurationError, EngineError, first_line
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import BATCH, SizeRange
from lightning_onnx.module.cases import Case
from lightning_onnx.module.decisions.search import search_once
from lightning_onnx.module.extremes import extreme_cases
from lightning_onnx.module.probing import cases_of, multiples
from lightning_onnx.module.runner import Runner
from lightning_onnx.module.values.cases import windows
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.decisions import KeptDecisions, may_keep
from lightning_onnx.pipeline.traced_file import Mismatch, comparing
from lightning_onnx.tracing.base import ConstantDim, Engine, Traced
from lightning_onnx.tracing.conditions import SizeCondition, turning_points
from lightning_onnx.tracing.graph import Graph
from lightning_onnx.tracing.signature import Outcome, achieved_signature


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One engine's graph, and where it is wrong.

    Attributes:
        engine: The engine.
        graph: Its graph.
        cases: Inputs on which it was compared with the module.
        constant_dims: Dims that torch calls constant, unless the graph was right at all other sizes that were tried, or
            at a larger one: torch is mistaken for recurrent layers and scripted submodules.
        wrong: One mismatch for each dim that has wrong results at other sizes.
        wrong_at_one: One mismatch for each dim that has wrong results only at size 1.
        wrong_as_traced: A mismatch at the traced sizes.
        inexact: A difference too small for a wrong translation, on inputs that change no decision. Another engine may
            not have it; otherwise the check of the trained weights decides.
        wrong_beyond: A mismatch outside the observed range of values. Another engine may not have it; otherwise the
            check of the trained weights decides.
        mismatches: All cases in which the graph is wrong.
        decisions: The decisions of the traced call that the graph keeps.
        conditions: What engines assumed about sizes: the method may do something else where one does not hold.
        judged: How the cases were judged.
    """

    engine: Engine
    graph: Graph
    cases: tuple[Case, ...]
    constant_dims: tuple[ConstantDim, ...]
    wrong: Mapping[str, Mismatch]
    wrong_at_one: Mapping[str, Mismatch]
    wrong_as_traced: Mismatch | None
    inexact: Mismatch | None
    wrong_beyond: Mismatch | None
    mismatches: tuple[Mismatch, ...]
    decisions: KeptDecisions
    conditions: tuple[SizeCondition, ...] = ()
    judged: Judged = dataclasses.field(default_factory=Judged)

    @property
    def is_right_at_all_sizes(self) -> bool:
        """Whether no dim is lost, and the graph is wrong at no size that was tried."""
        return self.badness[:3] == (False, 0, 0)

    @property
    def is_right(self) -> bool:
        """Whether the graph is right in all cases, and all requested dims are dynamic."""
        return self.badness == (False, 0, 0, False, False)

    @property
    def badness(self) -> tuple[bool, int, int, bool, bool]:
        """Sort key for candidates; smaller is better."""
        lost = {c.dim for c in self.constant_dims} | set(self.wrong)
        small = self.wrong_beyond is not None, self.inexact is not None
        return self.wrong_as_traced is not None, len(lost), len(self.wrong_at_one), *small

    @property
    def wrong_dims(self) -> Mapping[str, Mismatch]:
        """One mismatch for each dim with wrong results at other sizes, or else only at size 1.

        None where the graph is wrong at the traced sizes: a decision by values is the cause, at other sizes too.
        """
        return {} if self.wrong_as_traced else self.wrong or self.wrong_at_one

    @property
    def wrong_cases(self) -> tuple[Case, ...]:
        """The cases in which the graph is wrong."""
        return tuple(mismatch.case for mismatch in self.mismatches)

    def cases_within(self, ranges: Mapping[str, SizeRange]) -> tuple[Case, ...]:
        """Return the cases whose sizes are in range."""
        sizes = self.graph.request.sizes
        return tuple(c for c in self.cases if all(sizes(c.tensors)[dim] in ranges[dim] for dim in ranges))


def try_engine(
    engine: Engine,
    run: Runner,
    request: Request,
    config: ExportConfig,
    *,
    others: Sequence[Candidate] = (),
    further_cases: Sequence[Case] = (),
    until_wrong: bool = False,
) -> Candidate:
    """Trace with an engine, and compare its graph with the module.

    Args:
        engine: The engine.
        run: Runs the module.
        request: The requested graph.
        config: The options.
        others: Other candidates for the same module: their constant dims and conditions apply here too.
        further_cases: Additional cases to compare on.
        until_wrong: Whether the first case in which the graph is wrong is enough.

    Raises:
        EngineError: If the engine does not translate the module, or writes an invalid file; any other exception is its
            cause, so that the other engines are tried.
    """
    try:
        return _try(engine, run, request, config, others, further_cases, until_wrong)
    except (EngineError, ConfigurationError):
        raise
    except Exception as error:
        raise EngineError(
            f"engine '{engine.name}': its graph could not be completed or compared ({first_line(error)})"
        ) from error


def _try(
    engine: Engine,
    run: Runner,
    request: Request,
    config: ExportConfig,
    others: Sequence[Candidate],
    further_cases: Sequence[Case],
    until_wrong: bool,
) -> Candidate:
    traced = engine.trace(run.flat, request, config.opset, dict(config.export_options or {}))
    cases = cases_of(request, run)
    known = [request.sizes(case.tensors) for case in cases]
    cases += tuple(case for case in further_cases if request.sizes(case.tensors) not in known)
    graph = _graph(traced, run, request, cases, config)
    decisions = KeptDecisions.of(graph, search_once(run, request, cases)) if may_keep(graph) else KeptDecisions()
    included = set(map(id, cases))
    deciding = (case for case in further_cases if case.kind in ("traced", "decision") and id(case) not in included)
    cases += (*decisions.cases, *deciding)
    known += [request.sizes(case.tensors) for case in cases]
    assumed = (condition for other in others for condition in other.conditions)
    conditions = tuple(dict.fromkeys((*traced.conditions, *assumed)))
    hints = _hints(traced, conditions, request)
    extremes = tuple(c for c in extreme_cases(request, run, hints) if request.sizes(c.tensors) not in known)
    judged = Judged()
    with comparing(run, graph, cases, config, judged) as compare:
        mismatches = _mismatches(compare(cases), config, until_wrong)
        wrong = [m for m in mismatches if _is_wrong(m, config)]
        extremes = _worth_trying(extremes, cases, wrong, request)
        if not (until_wrong and wrong):
            mismatches += _mismatches(compare(extremes), config, until_wrong)
            wrong = [m for m in mismatches if _is_wrong(m, config)]
        if rows := _rows_of(wrong, run, request):
            wrong += [m for m in compare(rows) if m is not None and not m.comparison.is_small]
    small = (m for m in mismatches if _is_small(m, config) and not any(m.case is case for case in extremes))
    compared = (*cases, *extremes)
    wrong_dims, wrong_at_one = _wrong_dims(wrong, request)
    varied = {dim for case in compared for dim in _changed_dims(case, request)}
    dynamic = (varied - set(wrong_dims)) | _right_when_larger(compared, wrong, request)
    constant = (*traced.constant_dims, *(dim for other in others for dim in other.constant_dims))
    return Candidate(
        engine,
        graph,
        cases,
        constant_dims=tuple(c for c in constant if c.dim not in dynamic),
        wrong=wrong_dims,
        wrong_at_one=wrong_at_one,
        wrong_as_traced=_first_as_traced(wrong, request),
        inexact=next(small, None),
        wrong_beyond=next((m for m in mismatches if m.case.may_be_wrong and not _is_small(m, config)), None),
        mismatches=tuple(wrong),
        decisions=decisions,
        conditions=conditions,
        judged=judged,
    )


def _is_small(mismatch: Mismatch, config: ExportConfig) -> bool:
    """Tell whether a difference is too small for a wrong translation; not where a decision differs, or if asked."""
    is_exact = config.parity.rtol is not None or config.parity.atol is not None
    return mismatch.comparison.is_small and mismatch.case.kind != "decision" and not is_exact


def _is_wrong(mismatch: Mismatch, config: ExportConfig) -> bool:
    return not _is_small(mismatch, config) and not mismatch.case.may_be_wrong


def _mismatches(found: Iterable[Mismatch | None], config: ExportConfig, until_wrong: bool) -> list[Mismatch]:
    """Return the mismatches, or those up to the first one that is wrong."""
    mismatches = []
    for mismatch in filter(None, found):
        mismatches.append(mismatch)
        if until_wrong and _is_wrong(mismatch, config):
            break
    return mismatches


def _worth_trying(
    extremes: Sequence[Case], cases: Sequence[Case], wrong: Sequence[Mismatch], request: Request
) -> tuple[Case, ...]:
    """Return the extreme cases, but for those of dims that are lost: a loop over hundreds of steps takes long."""
    is_wrong = {id(m.case) for m in wrong}
    changed = [(id(case) in is_wrong, dim) for case in cases for dim in _changed_dims(case, request)]
    lost = {dim for _, dim in changed} - {dim for wrong_there, dim in changed if not wrong_there}
    return tuple(case for case in extremes if lost.isdisjoint(_changed_dims(case, request)))


def _rows_of(wrong: Sequence[Mismatch], run: Runner, request: Request) -> list[Case]:
    """Return all rows of an observed call at the traced sizes, if a graph is wrong on that call but not as traced.

    Where it is wrong on some of the rows, their values are the cause, and not their number.
    """
    if _first_as_traced(wrong, request) is not None:
        return []
    observed = (m.case for m in wrong if m.case.kind == "observed" and _changed_dims(m.case, request) == [BATCH])
    case = next(observed, None)
    found = [(rows, run(rows)) for rows in windows(request, case.tensors)] if case is not None else []
    label = f"rows of {case.label}" if case is not None else ""
    return [Case(label, rows, outputs.tensors, kind="values") for rows, outputs in found if outputs is not None]


def _hints(traced: Traced, conditions: Sequence[SizeCondition], request: Request) -> dict[str, list[int]]:
    """Return sizes to try: on both sides of each limit that the engine assumes, and where a condition is broken."""
    sizes = request.sizes(request.tensors)
    hints = {dim: turning_points(conditions, sizes, dim) for dim in sizes}
    for assumed in traced.assumed_ranges:
        below = [] if assumed.min is None else [assumed.min, assumed.min - 1]
        above = [] if assumed.max is None else [assumed.max, assumed.max + 1]
        hints[assumed.dim] = list(dict.fromkeys((*below, *above, *hints.get(assumed.dim, ()))))
    return hints


def _graph(traced: Traced, run: Runner, request: Request, cases: Sequence[Case], config: ExportConfig) -> Graph:
    def outcome(case: Case) -> Outcome:
        return Outcome(request.sizes(case.tensors), case.expected or ())

    outcomes = [outcome(case) for case in cases if case.kind != "values"]
    others = [outcome(case) for case in cases if case.kind == "values" and case.expected]
    achieved = achieved_signature(traced, request, outcomes, others)
    relations = (*achieved.signature.relations, *multiples(request, run, [outcome.sizes for outcome in outcomes]))
    return Graph(
        traced,
        request,
        dataclasses.replace(achieved.signature, relations=relations),
        config.opset,
        drop_inner_shapes=achieved.drop_inner_shapes or bool(traced.constant_dims),
        options=dict(config.export_options or {}),
    )


def _wrong_dims(wrong: Sequence[Mismatch], request: Request) -> tuple[dict[str, Mismatch], dict[str, Mismatch]]:
    """Return the dims with wrong results at other sizes, and those with wrong results only at size 1.

    If several dims changed in a case, the last one is blamed, unless one of them is already known to be wrong.
    """
    elsewhere: dict[str, Mismatch] = {}
    at_one: dict[str, Mismatch] = {}
    for mismatch in wrong:
        sizes = request.sizes(mismatch.case.tensors)
        changed = _changed_dims(mismatch.case, request)
        if changed and not any(dim in elsewhere or (dim in at_one and sizes[dim] == 1) for dim in changed):
            (at_one if sizes[changed[-1]] == 1 else elsewhere)[changed[-1]] = mismatch
    return elsewhere, at_one


def _right_when_larger(cases: Sequence[Case], wrong: Sequence[Mismatch], request: Request) -> set[str]:
    """Return the dims for which a graph is right at a larger size than the traced one, with no other dim changed."""
    traced = request.sizes(request.tensors)
    is_wrong = {id(m.case) for m in wrong}
    changed = [(case, _changed_dims(case, request)) for case in cases if id(case) not in is_wrong]
    return {
        dims[0] for case, dims in changed if len(dims) == 1 and request.sizes(case.tensors)[dims[0]] > traced[dims[0]]
    }


def _first_as_traced(wrong: Sequence[Mismatch], request: Request) -> Mismatch | None:
    """Return a mismatch at the traced sizes: in the traced call, or else one whose label names the decision."""
    found = [m for m in wrong if not _changed_dims(m.case, request)]
    return min(found, key=lambda m: (m.case.kind != "traced", m.case.kind != "decision"), default=None)


def _changed_dims(case: Case, request: Request) -> list[str]:
    """Return the dims whose size is not the traced one."""
    traced = request.sizes(request.tensors)
    return [dim for dim, size in request.sizes(case.tensors).items() if size != traced[dim]]
