"""From a request to a graph that is right at all its sizes: engines in order, and what none can do becomes static."""

from __future__ import annotations

import dataclasses
import logging
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from lightning_onnx.artifacts import artifact as artifacts
from lightning_onnx.checks import divergence
from lightning_onnx.checks.base import CheckContext
from lightning_onnx.checks.comparison import Comparison
from lightning_onnx.checks.parity import is_failure, random_outputs
from lightning_onnx.errors import EngineError, ParityError, first_line
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.probing import Runner, cases_of, multiples
from lightning_onnx.onnxfile.head import opset_of, read_head
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.runtimes.worker import client
from lightning_onnx.tracing import dims
from lightning_onnx.tracing.base import ConstantDim, Engine
from lightning_onnx.tracing.engines import failure, order
from lightning_onnx.tracing.graph import Graph, inner_values

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Candidate:
    """One engine's graph and where it fails.

    ``fixed`` are the dims that torch calls constant and that were not seen to work at another size: with the loops of
    recurrent layers torch is wrong about it, and the graph is right. ``wrong_as_traced`` is a case, the output that is
    wrong there, and the problem. ``inexact`` is a problem that a wrong translation does not have: another engine may do
    without, and else it is left to the check of the trained weights.
    """

    graph: Graph
    cases: tuple[Case, ...]
    fixed: tuple[ConstantDim, ...]
    wrong: dict[str, str]
    wrong_at_one: dict[str, str]
    wrong_as_traced: tuple[Case, str, str] | None
    inexact: str | None
    engine: Engine
    wrong_cases: tuple[Case, ...] = ()

    @property
    def right(self) -> bool:
        return not (self.fixed or self.wrong or self.wrong_at_one or self.wrong_as_traced or self.inexact)

    @property
    def badness(self) -> tuple[bool, int, int, bool]:
        lost = {f.dim for f in self.fixed} | set(self.wrong)
        return self.wrong_as_traced is not None, len(lost), len(self.wrong_at_one), self.inexact is not None


def find_graph(run: Runner, request: Request, config: ExportConfig, notes: list[str]) -> tuple[Graph, tuple[Case, ...]]:
    """Try the engines; what none does at every size becomes static, with a note.

    Args:
        run: Runs the module.
        request: What the graph is to be; its dims may be taken back one by one.
        config: The options.
        notes: What a user should know is added here.

    Returns:
        The graph, and the cases in which it was seen to be right.

    Raises:
        EngineError: If no engine translates the module, or none can do a dim that was asked for.
        ParityError: If the best graph is wrong at the traced sizes.
    """
    engines = order(config.engine, config.opset, config.export_options or ())
    while True:
        attempts: list[Candidate] = []
        errors: list[EngineError] = []
        for engine in engines:
            if engine.decides and not _by_values(errors):
                continue
            try:
                attempt = _candidate(run, request, engine, config, [f for a in attempts for f in a.fixed])
            except EngineError as error:
                log.debug("engine %s: %s", engine.name, error)
                errors.append(error)
                continue
            if attempt.right:
                notes.extend(_branches(errors, attempt))
                return attempt.graph, attempt.cases
            attempts.append(attempt)
        if not attempts:
            raise failure(errors)
        best = min(attempts, key=lambda a: a.badness)
        if best.wrong_as_traced:
            raise ParityError(
                f"the ONNX graph of {type(run.flat.module).__name__}.{config.method} (engine "
                f"'{best.graph.traced.engine}') does not compute what the module does: "
                f"{_as_traced(best, run, config)}. Try another engine or opset_version; loosen "
                "checks=[Parity(rtol=..., atol=...)] if that is noise; or let training go on (preflight='warn') where "
                "it is untrained weights that make all scores equal."
            )
        lost = _lost_dims(best)
        elsewhere = _traced_elsewhere(run, request, best, config) if lost else None
        if elsewhere is not None:
            notes.extend(_branches(errors, elsewhere))
            return elsewhere.graph, elsewhere.cases
        if not lost:
            for dim, problem in best.wrong_at_one.items():
                notes.append(f"{dim} must be 2 or more: at 1 the graph does something else ({problem})")
            notes.extend(
                [f"the untrained module and its graph differ by little: {best.inexact}"] if best.inexact else []
            )
            return best.graph, tuple(c for c in best.cases if not _has_one(c, best))
        if config.dynamic_axes != "auto":
            raise EngineError(
                f"dynamic_axes asks for {sorted(lost)} to be dynamic, and no engine can do it: "
                f"{'; '.join(lost.values())}. Leave these axes out, or change that line of the module."
            )
        notes.extend(lost.values())
        request = request.static(list(lost))
        engines = [e for e in engines if e.name == best.graph.traced.engine] + [
            e for e in engines if e.name != best.graph.traced.engine
        ]


def _traced_elsewhere(run: Runner, request: Request, attempt: Candidate, config: ExportConfig) -> Candidate | None:
    """Trace once more at sizes at which the graph was wrong; None where that is not right at all sizes either.

    What a module does at a size that needs no padding is less than what it does at one that does: it pads by nothing,
    and crops nothing. Traced at the other size, the graph has both.
    """
    traced = request.sizes(request.tensors)
    other = dict(traced)
    for dim in attempt.wrong:
        sizes = [request.sizes(case.tensors)[dim] for case in attempt.wrong_cases]
        found = sorted({n for n in sizes if n not in (1, traced[dim])}, key=lambda n: (n % 2 == 0, n))
        if not found:
            return None
        other[dim] = found[0]
    tensors = request.resized(other)
    if other == traced or run(tensors) is None:
        return None
    moved = dataclasses.replace(request, tensors=tensors)
    try:
        again = _candidate(run, moved, attempt.engine, config, attempt.fixed, attempt.cases)
    except EngineError as error:
        log.debug("engine %s, traced at %s: %s", attempt.engine.name, other, error)
        return None
    return again if again.right else None


def _as_traced(attempt: Candidate, run: Runner, config: ExportConfig) -> str:
    """What is wrong at the traced sizes, and where it begins."""
    assert attempt.wrong_as_traced is not None
    case, output, problem = attempt.wrong_as_traced
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / artifacts.MODEL
        attempt.graph.write_traced(run.flat, path)
        parted = divergence.find_divergence(
            _traced_context(run.flat, attempt.graph, path), case, output, config.parity.compare_output
        )
    return f"{problem}; {parted}" if parted else problem


def _by_values(errors: Sequence[EngineError]) -> bool:
    """Whether an engine has refused the method because values of its tensors decide."""
    return any("data-dependent" in str(error) for error in errors)


def _branches(errors: Sequence[EngineError], attempt: Candidate) -> list[str]:
    """What an engine that follows one branch does to a module that branches on values; the others refuse it."""
    follows = attempt.engine.decides or attempt.graph.traced.engine == "torchscript"
    if not (follows and _by_values(errors)):
        return []
    return [
        "the method decides by values of its tensors, and the graph keeps the decisions of the traced call; it was "
        "compared on the observed calls and at other sizes"
    ]


def _has_one(case: Case, attempt: Candidate) -> bool:
    sizes = attempt.graph.request.sizes(case.tensors)
    return any(sizes[dim] == 1 for dim in attempt.wrong_at_one)


def _lost_dims(attempt: Candidate) -> dict[str, str]:
    """Dims to make static, each with the sentence that says why."""
    lost = {}
    request = attempt.graph.request
    for fixed in attempt.fixed:
        where = f" at {fixed.where}" if fixed.where else ""
        lost[fixed.dim] = (
            f"{_place(request, fixed.dim)} is static: the module's code makes it constant ({fixed.size}){where}"
        )
    for dim, problem in attempt.wrong.items():
        lost.setdefault(dim, f"{_place(request, dim)} is static: the graph is wrong at other sizes of it ({problem})")
    return lost


def _place(request: Request, dim: str) -> str:
    places = [
        f"dim {d} of input '{name}'"
        for name, axes in zip(request.input_names, request.axes, strict=True)
        for d, n in axes.items()
        if n == dim
    ]
    return f"{' and '.join(places)} ({dim})"


def _candidate(
    run: Runner,
    request: Request,
    engine: Engine,
    config: ExportConfig,
    known_fixed: Sequence[ConstantDim],
    further: Sequence[Case] = (),
) -> Candidate:
    flat = run.flat
    traced = engine.trace(flat, request, config.opset, dict(config.export_options or {}))
    cases = cases_of(request, run)
    known = [request.sizes(case.tensors) for case in cases]
    cases += tuple(case for case in further if request.sizes(case.tensors) not in known)
    sizes = [request.sizes(case.tensors) for case in cases]
    signature, drop_inner_shapes = dims.achieved(
        traced,
        traced.first.model,
        request,
        [(size, case.expected or ()) for size, case in zip(sizes, cases, strict=True)],
    )
    signature = dataclasses.replace(signature, relations=(*signature.relations, *multiples(request, run)))
    graph = Graph(
        traced,
        request,
        signature,
        config.opset,
        drop_inner_shapes or bool(traced.fixed),
        dict(config.export_options or {}),
    )
    wrong: dict[str, str] = {}
    wrong_at_one: dict[str, str] = {}
    wrong_as_traced = inexact = None
    wrong_cases = []
    exactly = config.parity.rtol is not None or config.parity.atol is not None
    for case, compared in _mismatches(flat, graph, cases, config):
        output, problem = compared.output, _problem(compared, case)
        if compared.is_small and not exactly:
            inexact = inexact or problem
            continue
        wrong_cases.append(case)
        now = request.sizes(case.tensors)
        changed = [name for name in now if now[name] != sizes[0][name]]
        if not changed:
            wrong_as_traced = wrong_as_traced or (case, output, problem)
        elif not any(name in wrong or (name in wrong_at_one and now[name] == 1) for name in changed):
            (wrong_at_one if now[changed[-1]] == 1 else wrong)[changed[-1]] = problem
    varied = {name for now in sizes for name in now if now[name] != sizes[0][name]}
    fixed = tuple(f for f in (*traced.fixed, *known_fixed) if f.dim not in varied or f.dim in wrong)
    return Candidate(graph, cases, fixed, wrong, wrong_at_one, wrong_as_traced, inexact, engine, tuple(wrong_cases))


def _mismatches(
    flat: FlatModule, graph: Graph, cases: Sequence[Case], config: ExportConfig
) -> Iterable[tuple[Case, Comparison]]:
    """Yield the cases in which the graph is wrong, with the output that is most so."""
    parity = config.parity
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / artifacts.MODEL
        graph.write_traced(flat, path)
        _check_file(path, graph, config)
        if not config.has_weights:
            return
        context = dataclasses.replace(_traced_context(flat, graph, path), cases=tuple(cases))
        random = random_outputs(context, cases[0])
        try:
            session = context.runtime.load(path)
        except Exception as error:
            raise EngineError(
                f"engine '{graph.traced.engine}': onnxruntime does not load the file ({first_line(error)})"
            ) from error
        for case in cases:
            compared = parity.judge(session, context, case)
            problems = [c for c in compared if is_failure(c, random)]
            if problems:
                yield case, min(problems, key=lambda c: c.is_small)


def _traced_context(flat: FlatModule, graph: Graph, path: Path) -> CheckContext:
    inner = inner_values(graph.traced, flat)
    runtime = client.get("onnxruntime")
    return CheckContext(path, graph.signature, runtime, flat.reference, (), flat.nudged, inner=inner)


def _problem(comparison: Comparison, case: Case) -> str:
    return f"output '{comparison.output}' at {case.label}: {comparison.problem}"


def _check_file(path: Path, graph: Graph, config: ExportConfig) -> None:
    """Read back what was asked for: the opset, the names, and whether onnx finds the model valid."""
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        raise EngineError(
            f"engine '{graph.traced.engine}': onnx finds the model invalid ({first_line(error)})"
        ) from error
    opset = opset_of(read_head(path))
    if opset != config.opset:
        raise EngineError(f"engine '{graph.traced.engine}' wrote opset {opset} where {config.opset} was asked for")
