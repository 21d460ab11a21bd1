"""``prepare`` once, ``produce`` for every set of weights; ``export`` is both, without a Trainer."""

from __future__ import annotations

import dataclasses
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx import artifact as artifacts
from lightning_onnx import graph as graphs
from lightning_onnx import manifest, matching, targets, testdata, weights
from lightning_onnx.artifact import ONNXArtifact
from lightning_onnx.checks.base import Case, CheckContext, CheckResult
from lightning_onnx.checks.parity import Comparison, Parity, random_outputs
from lightning_onnx.config import ExportConfig
from lightning_onnx.engines import Engine, Fixed, failure, order
from lightning_onnx.errors import ArtifactError, ConfigurationError, EngineError, ParityError, first_line
from lightning_onnx.flat import FlatModule
from lightning_onnx.graph import Graph
from lightning_onnx.observe import Observation
from lightning_onnx.report import Report
from lightning_onnx.runtimes import base as runtimes
from lightning_onnx.signature import Request, check_axes_names, derive
from lightning_onnx.template import lower_ir_version
from lightning_onnx.trial import Runner, cases_of, first_that_runs, multiples

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is prepared once and serves every set of weights.

    Attributes:
        config: The options.
        request: What was asked of the engines; ``graph.request`` is what they achieved.
        graph: The traced graph.
        engine_reason: Why this engine.
        cases: Inputs on which the module runs: traced sizes, observed batches, sizes not traced.
        notes: What a user should know, in sentences.
        structure: The module's structure; a graph is stale when it changes.
        source: Where the sample comes from.
        draws: Whether the method draws random numbers in eval mode.
    """

    config: ExportConfig
    request: Request
    graph: Graph
    engine_reason: str
    cases: tuple[Case, ...]
    notes: tuple[str, ...]
    structure: tuple[Any, ...]
    source: str
    draws: bool

    def covers(self, request: Request) -> bool:
        """Tell whether this plan serves the calls of ``request``: same inputs, and no dim that has come to vary."""
        return (request.input_names, request.axes) == (self.request.input_names, self.request.axes)

    def fits(self, observations: Sequence[Observation]) -> bool:
        """Tell, without running the module, whether all calls so far have this plan's sizes where it is static."""
        request = self.graph.request
        wanted = request.sample.paths
        for observation in observations[:1]:
            paths = observation.samples[0].paths
            if not set(wanted) <= set(paths):
                return False
            places = [paths.index(path) for path in wanted]
            if not all(request.fits_shapes([shapes[i] for i in places]) for shapes, _ in observation.shapes):
                return False
        return True


# Prepare ------------------------------------------------------------------------------------------------------------


def prepare(module: nn.Module, observations: Sequence[Observation], config: ExportConfig) -> Plan:
    """Derive the signature, trace the graph and try it at sizes that were not traced.

    Args:
        module: A private copy (see :func:`lightning_onnx.weights.private_copy`).
        observations: Ways in which the method is called, best first.
        config: The options.

    Raises:
        SampleError: If the module takes none of the observed calls.
        ConfigurationError: If names or axes do not fit the module.
        EngineError: If no engine can translate the module.
        ParityError: If a graph's outputs are not the module's.
    """
    observation, run, request = _derived(module, observations, config)
    notes = list(observation.notes)
    graph, cases = _traced(run, request, config, notes)
    unused = _unused(graph, observation)
    if unused and config.input_names is None:
        reduced = observation.with_constants(unused)
        observation, run, request = _derived(module, [reduced], config)
        notes = [*reduced.notes, f"left out of the graph, which does not use it: {', '.join(unused.values())}"]
        graph, cases = _traced(run, request, config, notes)
    for place in graph.traced.unused:
        notes.append(f"input '{graph.request.input_names[place]}' has no effect on the outputs")
    reason = _engine_reason(graph, config)
    cases = tuple(dataclasses.replace(case, expected=None) for case in cases)  # other weights, other outputs
    structure = weights.structure_of(module)
    draws = run.flat.draws_on(request.tensors)
    return Plan(config, request, graph, reason, cases, tuple(notes), structure, observation.source, draws)


def with_calls(plan: Plan, module: nn.Module, request: Request) -> Plan:
    """Return the same plan compared on the calls that were observed since, too."""
    now = dataclasses.replace(plan.graph.request, samples=request.samples)
    cases = cases_of(now, Runner(FlatModule(module, plan.config.method, now.sample)))
    known = {case.label for case in plan.cases}
    new = [
        dataclasses.replace(c, expected=None) for c in cases if c.label.startswith("observed") and c.label not in known
    ]
    return dataclasses.replace(plan, cases=(*plan.cases, *new))


def _unused(graph: Graph, observation: Observation) -> dict[int, str]:
    """Inputs below a batch that the graph does not use (its labels, say), by place; those of the signature stay."""
    paths = observation.samples[0].structure.paths
    found = {i: ".".join(paths[i]) for i in graph.traced.unused if len(observation.samples[0].paths[i]) > 1}
    return found if len(found) < len(paths) else {}


def derive_request(module: nn.Module, observations: Sequence[Observation], config: ExportConfig) -> Request:
    """Return what the engines would be asked for now, without tracing; arguments and errors as for :func:`prepare`."""
    return _derived(module, observations, config)[2]


def _derived(
    module: nn.Module, observations: Sequence[Observation], config: ExportConfig
) -> tuple[Observation, Runner, Request]:
    observation, run = first_that_runs(module, observations, config)
    request = derive(
        observation,
        run,
        lambda: run.flat.output_paths,
        input_names=config.input_names,
        output_names=config.output_names,
        dynamic_axes=config.dynamic_axes,
    )
    if not request.output_names:
        raise ConfigurationError(
            f"{type(module).__name__}.{config.method} returns no tensor, so there is nothing to export. "
            "Choose a method that returns tensors (method=...)."
        )
    check_axes_names(config.dynamic_axes, request.input_names, request.output_names)
    return observation, run, request


# Tracing: engines in order, then narrower ----------------------------------------------------------------------------


@dataclasses.dataclass
class _Attempt:
    """One engine's graph and where it fails.

    ``fixed`` are the dims that torch calls constant and that were not seen to work at another size: with the loops of
    recurrent layers torch is wrong about it, and the graph is right.
    """

    graph: Graph
    cases: tuple[Case, ...]
    fixed: tuple[Fixed, ...]
    wrong: dict[str, str]
    wrong_at_one: dict[str, str]
    wrong_as_traced: str | None

    @property
    def right(self) -> bool:
        return not (self.fixed or self.wrong or self.wrong_at_one or self.wrong_as_traced)

    @property
    def badness(self) -> tuple[bool, int, int]:
        lost = {f.dim for f in self.fixed} | set(self.wrong)
        return self.wrong_as_traced is not None, len(lost), len(self.wrong_at_one)


def _traced(run: Runner, request: Request, config: ExportConfig, notes: list[str]) -> tuple[Graph, tuple[Case, ...]]:
    """Try the engines; what none does at every size becomes static, with a note."""
    engines = order(config.engine, config.opset, config.export_options or ())
    while True:
        attempts: list[_Attempt] = []
        errors: list[EngineError] = []
        for engine in engines:
            try:
                attempt = _attempt(run, request, engine, config, [f for a in attempts for f in a.fixed])
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
                f"'{best.graph.traced.engine}') does not compute what the module does: {best.wrong_as_traced}. "
                "Try another engine or opset_version; loosen checks=[Parity(rtol=..., atol=...)] if that is noise; or "
                "let training go on (preflight='warn') where it is untrained weights that make all scores equal."
            )
        lost = _lost_dims(best)
        if not lost:
            for dim, problem in best.wrong_at_one.items():
                notes.append(f"{dim} must be 2 or more: at 1 the graph does something else ({problem})")
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


def _branches(errors: Sequence[EngineError], attempt: _Attempt) -> list[str]:
    """What an engine that follows one branch does to a module that branches on values; the other engine refuses it."""
    if attempt.graph.traced.engine != "torchscript" or not any("data-dependent" in str(e) for e in errors):
        return []
    return [
        "the method decides by values of its tensors, and the graph keeps the decisions of the traced call; it was "
        "compared on the observed calls alone"
    ]


def _has_one(case: Case, attempt: _Attempt) -> bool:
    sizes = attempt.graph.request.sizes(case.tensors)
    return any(sizes[dim] == 1 for dim in attempt.wrong_at_one)


def _lost_dims(attempt: _Attempt) -> dict[str, str]:
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


def _attempt(
    run: Runner, request: Request, engine: Engine, config: ExportConfig, known_fixed: Sequence[Fixed]
) -> _Attempt:
    flat = run.flat
    traced = engine.trace(flat, request, config.opset, dict(config.export_options or {}))
    cases = cases_of(request, run)
    sizes = [request.sizes(case.tensors) for case in cases]
    signature, loose = graphs.achieved(
        traced,
        traced.first.model,
        request,
        [(size, case.expected or ()) for size, case in zip(sizes, cases, strict=True)],
    )
    signature = dataclasses.replace(signature, relations=(*signature.relations, *multiples(request, run)))
    graph = Graph(
        traced, request, signature, config.opset, loose or bool(traced.fixed), dict(config.export_options or {})
    )
    wrong: dict[str, str] = {}
    wrong_at_one: dict[str, str] = {}
    wrong_as_traced = None
    for case, problem in _mismatches(flat, graph, cases, config):
        now = request.sizes(case.tensors)
        changed = [name for name in now if now[name] != sizes[0][name]]
        if not changed:
            wrong_as_traced = wrong_as_traced or problem
        elif not any(name in wrong or (name in wrong_at_one and now[name] == 1) for name in changed):
            (wrong_at_one if now[changed[-1]] == 1 else wrong)[changed[-1]] = problem
    varied = {name for now in sizes for name in now if now[name] != sizes[0][name]}
    fixed = tuple(f for f in (*traced.fixed, *known_fixed) if f.dim not in varied or f.dim in wrong)
    return _Attempt(graph, cases, fixed, wrong, wrong_at_one, wrong_as_traced)


def _mismatches(
    flat: FlatModule, graph: Graph, cases: Sequence[Case], config: ExportConfig
) -> Iterable[tuple[Case, str]]:
    """Yield the cases in which the graph is wrong."""
    parity = next((c for c in config.checks if isinstance(c, Parity)), Parity())
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / artifacts.MODEL
        graph.write_traced(flat, path)
        _check_file(path, graph, config)
        if not config.has_weights:
            return
        runtime = runtimes.get("onnxruntime")
        context = CheckContext(path, graph.signature, runtime, flat.reference, tuple(cases), flat.nudged)
        random = random_outputs(context, cases[0])
        try:
            session = runtime.load(path)
        except Exception as error:
            raise EngineError(
                f"engine '{graph.traced.engine}': onnxruntime does not load the file ({first_line(error)})"
            ) from error
        for case in cases:
            compared = parity.judge(session, context, case)
            problems = [c for c in compared if c.problem and not c.noise and c.output not in random]
            if problems:
                yield case, _problem(problems[0], case)


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
    model = onnx.load(str(path), load_external_data=False)
    opset = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
    if opset != config.opset:
        raise EngineError(f"engine '{graph.traced.engine}' wrote opset {opset} where {config.opset} was asked for")


def _engine_reason(graph: Graph, config: ExportConfig) -> str:
    if config.engine != "auto":
        return "as asked for"
    if graph.traced.engine == "dynamo":
        return "the torch.export based engine comes first"
    if config.opset < 17:
        return f"opset {config.opset} is written by the TorchScript based engine alone"
    return "the torch.export based engine does not translate the module rightly at all its sizes"


# Produce ------------------------------------------------------------------------------------------------------------


def produce(
    plan: Plan,
    module: nn.Module,
    directory: Path,
    source: weights.Source,
    *,
    started: float | None = None,
    beside: bool = False,
    replace: bool = False,
    step: Callable[[str], None] = lambda name: None,
) -> ONNXArtifact:
    """Write, check and commit one artifact.

    Args:
        plan: The result of :func:`prepare` for a module of the same structure.
        module: A private copy with the weights to export.
        directory: The artifact's directory.
        source: Where the weights come from.
        started: ``time.perf_counter()`` at which the export began; default: now.
        beside: Whether a training goes on meanwhile, which is to keep its cores and its random state.
        replace: Whether an artifact that is there goes.
        step: Is told the name of each stage, for people who wait.

    Returns:
        The artifact; it is kept and marked where a check failed.

    Raises:
        ArtifactError: If it cannot be written.
    """
    started = time.perf_counter() if started is None else started
    config = plan.config
    flat = FlatModule(module, config.method, plan.graph.request.sample, draws=plan.draws)
    with artifacts.stage(directory.parent) as staged:
        path = staged / artifacts.MODEL
        step("writing the weights")
        skeleton = plan.graph.refresh(flat, manifest.embedded(source, config.metadata), path)
        if config.target is not None:
            lower_ir_version(path, skeleton, targets.find(config.target).ir_version)
        step("checking")
        context = _context(plan, flat, path, threads=1 if beside else 0)
        results = [
            _run_check(check, context) if config.has_weights else _no_weights(check) for check in config.every_check
        ]
        notes = list(plan.notes)
        if config.test_data is not None:
            missing = testdata.write_test_data(
                staged / artifacts.TEST_DATA,
                plan.graph.signature,
                plan.graph.request.tensors,
                flat.reference,
                config.test_data,
            )
            notes += [missing] if missing else []
        step("writing the report")
        described = manifest.build(
            path,
            skeleton,
            plan.graph.signature,
            source,
            results,
            notes,
            engine=plan.graph.traced.engine,
            engine_reason=plan.engine_reason,
            method=config.method,
            sample=plan.source,
            name=directory.name,
            module=type(module).__name__,
            metadata=config.metadata,
            traced=[list(t.shape) for t in plan.graph.request.tensors],
            target=config.target,
        )
        described["scalars"]["export_seconds"] = round(time.perf_counter() - started, 3)
        Report(described).write(staged)
        return artifacts.commit(staged, described, directory, replace)


def _context(plan: Plan, flat: FlatModule, path: Path, threads: int) -> CheckContext:
    runtime = runtimes.get("onnxruntime", threads=threads)
    return CheckContext(path, plan.graph.signature, runtime, flat.reference, plan.cases, flat.nudged, plan.draws, flat)


def _run_check(check: Any, context: CheckContext) -> CheckResult:
    try:
        result = check(context)
    except Exception as error:  # a check that breaks has not passed
        log.debug("check %s", check.name, exc_info=True)
        return CheckResult(check.name, "failed", f"the check itself failed: {first_line(error)}")
    assert isinstance(result, CheckResult)
    return result


def _no_weights(check: Any) -> CheckResult:
    reason = "the file holds no weights (export_params=False)"
    return CheckResult(check.name, "skipped", reason, scalars={f"{check.name}_passed": 0.0})


# Without a Trainer --------------------------------------------------------------------------------------------------


def export(
    module: nn.Module,
    args: Sequence[Any] | Tensor = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    directory: str | os.PathLike[str],
    **options: Any,
) -> ONNXArtifact:
    """Export a module to an artifact without a Trainer.

    Args:
        module: Any module; it is copied and left as it is.
        args: Positional arguments of a call of the method; a single tensor is taken as one argument.
        kwargs: Keyword arguments of the call.
        directory: The artifact's directory; must not exist.
        options: As for :class:`lightning_onnx.ONNXExport`: ``method``, ``input_names``, ``opset_version`` …

    Returns:
        The artifact.

    Raises:
        ConfigurationError: If an option cannot be meant, or does not fit the module.
        SampleError: If the module does not take the arguments.
        EngineError: If no engine can translate the module.
        ParityError: If the graph's outputs are not the module's.
        ArtifactError: If the directory exists or cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as d:
        ...     made = export(torch.nn.Linear(4, 2), torch.zeros(3, 4), directory=f"{d}/linear")
        ...     str(made.signature), made.passed
        ('(input: float32[batch, 4]) -> (output: float32[batch, 2])', True)
    """
    started = time.perf_counter()
    known = {f.name for f in dataclasses.fields(ExportConfig)} - {"sample"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise ConfigurationError(f"export() has no option {unknown}. Choose from {', '.join(sorted(known))}.")
    config = ExportConfig(**options)
    target = Path(directory)
    if target.exists():
        raise ArtifactError(f"{target} exists. Remove it or choose another directory.")
    positional = (args,) if isinstance(args, Tensor) else tuple(args)
    sample = matching.sample_of(module, config.method, (positional, dict(kwargs or {})))
    copied = weights.private_copy(module)
    weights.merge_adapters(copied)
    plan = prepare(copied, [Observation.of(sample, "the arguments given")], config)
    first = next((p for p in module.parameters()), torch.empty(0))
    return produce(
        plan,
        copied,
        target,
        weights.Source(precision=str(first.dtype).removeprefix("torch."), device=first.device.type),
        started=started,
    )
