"""``prepare`` once, ``produce`` for every set of weights; ``export`` is both, without a Trainer."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx import artifact as artifacts
from lightning_onnx import graph as graphs
from lightning_onnx import testdata, weights
from lightning_onnx.artifact import ONNXArtifact
from lightning_onnx.checks.base import Case, CheckContext, CheckResult
from lightning_onnx.checks.parity import Comparison, Parity, random_outputs
from lightning_onnx.config import ExportConfig
from lightning_onnx.engines import Engine, Fixed, failure, order
from lightning_onnx.errors import ArtifactError, ConfigurationError, EngineError, ParityError, SampleError, first_line
from lightning_onnx.flat import FlatModule, to_numpy
from lightning_onnx.graph import Graph
from lightning_onnx.observe import Observation, make_sample, method_signature
from lightning_onnx.report import Report
from lightning_onnx.runtimes import base as runtimes
from lightning_onnx.signature import BATCH, Request, check_axes_names, derive, few_rows, probe_sizes, resize
from lightning_onnx.versions import versions

log = logging.getLogger(__name__)

_CHECKED_ROWS = 4
"""Observed batches are cut to this many rows for checks: a batch of 256 images on the CPU would take minutes."""


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
    """

    config: ExportConfig
    request: Request
    graph: Graph
    engine_reason: str
    cases: tuple[Case, ...]
    notes: tuple[str, ...]
    structure: tuple[Any, ...]
    source: str

    def covers(self, request: Request) -> bool:
        """Tell whether this plan serves the calls of ``request``: same inputs, and no dim that has come to vary."""
        return (request.input_names, request.axes) == (self.request.input_names, self.request.axes)


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
    return Plan(config, request, graph, reason, cases, tuple(notes), weights.structure_of(module), observation.source)


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
) -> tuple[Observation, _Runner, Request]:
    observation, run = _first_that_runs(module, observations, config)
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


class _Runner:
    """Calls the module on flat tensors; None where it does not take them. Repeated questions run once."""

    def __init__(self, flat: FlatModule) -> None:
        self.flat = flat
        self.error: Exception | None = None
        self._known: dict[Any, tuple[list[Tensor], tuple[Any, ...]]] = {}

    def __call__(self, tensors: Sequence[Tensor]) -> list[Tensor] | None:
        key = tuple((t.shape, hash(to_numpy(t).tobytes())) for t in tensors)
        if key in self._known:
            outputs, self.flat.output_paths = self._known[key]
            return outputs
        try:
            outputs = self.flat.reference(tensors)
        except Exception as error:  # a module may refuse a size with any exception
            self.error = error
            return None
        self._known[key] = outputs, self.flat.output_paths
        return outputs


def _first_that_runs(
    module: nn.Module, observations: Sequence[Observation], config: ExportConfig
) -> tuple[Observation, _Runner]:
    refused: list[tuple[str, Exception]] = []
    for observation in observations:
        if not any(sample.tensors for sample in observation.samples):
            refused.append((observation.source, TypeError("no tensor among the arguments")))
            continue
        observation = _as_reference(observation)
        for candidate in (_without_excluded(observation, config.exclude_inputs), observation):
            if candidate is None:
                continue
            flat = FlatModule(module, config.method, candidate.samples[0])
            run = _Runner(flat)
            if run(few_rows(candidate)) is not None or run(candidate.samples[0].tensors) is not None:
                return candidate, run
            assert run.error is not None
            refused.append((candidate.source, run.error))
    method = f"{type(module).__name__}.{config.method}"
    tried = "; ".join(f"{source} ({first_line(error)})" for source, error in refused) or "nothing was seen"
    raise SampleError(
        f"no call of {method} is known that runs on tensors. Tried: {tried}. "
        "Give the arguments of one call: sample=(...) to the callback, example_input_array to the module, or args and "
        "kwargs to export()."
    ) from (refused[0][1] if refused else None)


def _as_reference(observation: Observation) -> Observation:
    """The reference is in float32, so its inputs are, whatever precision the training had."""
    half = (torch.float16, torch.bfloat16)
    samples = tuple(
        dataclasses.replace(s, tensors=tuple(t.float() if t.dtype in half else t for t in s.tensors))
        for s in observation.samples
    )
    return dataclasses.replace(observation, samples=samples)


def _without_excluded(observation: Observation, excluded: Sequence[str]) -> Observation | None:
    """The observation without the inputs that are labels; None where it has none of them."""
    paths = observation.samples[0].paths
    kept = [i for i, path in enumerate(paths) if path[-1] not in excluded]
    if len(kept) == len(paths) or not kept:
        return None
    samples = tuple(s.without(lambda path: path[-1] in excluded) for s in observation.samples)
    if any(len(s.tensors) != len(kept) for s in samples):
        return None  # required, or part of something that has no keys
    shapes = tuple((tuple(shapes[i] for i in kept), size) for shapes, size in observation.shapes)
    dropped = [".".join(paths[i]) for i in range(len(paths)) if i not in kept]
    note = f"left out of the graph, because {'.'.join(dropped)} is in exclude_inputs: {', '.join(dropped)}"
    return dataclasses.replace(observation, samples=samples, shapes=shapes, notes=(*observation.notes, note))


def _cases(request: Request, run: _Runner) -> tuple[Case, ...]:
    """Inputs that the module takes, with its outputs: traced sizes, the observed calls, sizes not traced."""
    cases: dict[str, Case] = {}

    def add(kind: str, tensors: tuple[Tensor, ...]) -> bool:
        label = _label(kind, request, tensors)
        if any(same.partition(" ")[2] == label.partition(" ")[2] for same in cases):
            return True
        expected = run(tensors)
        if expected is not None:
            cases[label] = Case(label, tensors, tuple(expected))
        return expected is not None

    add("traced", request.tensors)
    for sample in request.samples[1:]:  # other values at the traced sizes: what is wrong here is not about sizes
        tensors = resize(sample.tensors, request.axes, request.sizes(request.tensors))
        expected = run(tensors) if request.fits(tensors) else None
        if expected is not None:
            cases[f"traced with values of call {len(cases) + 1}"] = Case(
                f"traced with values of call {len(cases) + 1}", tensors, tuple(expected)
            )
    for sample in request.samples:
        tensors = _cut(sample.tensors, request)
        if request.fits(tensors):
            add("observed", tensors)
    for alternatives in probe_sizes(request):
        any(add("resized", request.resized(sizes)) for sizes in alternatives)
    return tuple(cases.values())


def _cut(tensors: Sequence[Tensor], request: Request) -> tuple[Tensor, ...]:
    sizes = request.sizes(tensors)
    if sizes.get(BATCH, 0) <= _CHECKED_ROWS:
        return tuple(t.contiguous() for t in tensors)
    return resize(tensors, request.axes, {BATCH: _CHECKED_ROWS})


def _label(kind: str, request: Request, tensors: Sequence[Tensor]) -> str:
    sizes = ", ".join(f"{name}={size}" for name, size in request.sizes(tensors).items())
    return f"{kind} ({sizes})" if sizes else kind


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


def _traced(run: _Runner, request: Request, config: ExportConfig, notes: list[str]) -> tuple[Graph, tuple[Case, ...]]:
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
    run: _Runner, request: Request, engine: Engine, config: ExportConfig, known_fixed: Sequence[Fixed]
) -> _Attempt:
    flat = run.flat
    traced = engine.trace(flat, request, config.opset, dict(config.export_options or {}))
    cases = _cases(request, run)
    sizes = [request.sizes(case.tensors) for case in cases]
    model = traced.model(flat)
    signature, loose = graphs.achieved(
        traced, model, request, [(size, case.expected or ()) for size, case in zip(sizes, cases, strict=True)]
    )
    signature = dataclasses.replace(signature, relations=(*signature.relations, *_multiples(request, run)))
    graph = Graph(
        traced, request, signature, config.opset, loose or bool(traced.fixed), dict(config.export_options or {})
    )
    wrong: dict[str, str] = {}
    wrong_at_one: dict[str, str] = {}
    wrong_as_traced = None
    for case, problem in _mismatches(flat, graph, model, cases, config):
        now = request.sizes(case.tensors)
        changed = [name for name in now if now[name] != sizes[0][name]]
        if not changed:
            wrong_as_traced = wrong_as_traced or problem
        elif not any(name in wrong or (name in wrong_at_one and now[name] == 1) for name in changed):
            (wrong_at_one if now[changed[-1]] == 1 else wrong)[changed[-1]] = problem
    varied = {name for now in sizes for name in now if now[name] != sizes[0][name]}
    fixed = tuple(f for f in (*traced.fixed, *known_fixed) if f.dim not in varied or f.dim in wrong)
    return _Attempt(graph, cases, fixed, wrong, wrong_at_one, wrong_as_traced)


def _multiples(request: Request, run: _Runner) -> Iterator[str]:
    """Find dims of which the module takes multiples of a number alone, by calling it."""
    traced = request.sizes(request.tensors)
    for name, size in traced.items():
        if name == BATCH or run(request.resized(traced | {name: size + 1})) is not None:
            continue
        steps = (k for k in range(2, size + 1) if size % k == 0)
        step = next((k for k in steps if run(request.resized(traced | {name: size + k})) is not None), None)
        if step is not None:
            yield f"{name} is a multiple of {step}"


def _mismatches(
    flat: FlatModule, graph: Graph, model: Any, cases: Sequence[Case], config: ExportConfig
) -> Iterable[tuple[Case, str]]:
    """Yield the cases in which the graph is wrong."""
    parity = next((c for c in config.checks if isinstance(c, Parity)), Parity())
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / artifacts.MODEL
        graphs.write(graphs.finish(model, graph, {}), path)
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
    plan: Plan, module: nn.Module, directory: Path, source: weights.Source, *, started: float | None = None
) -> ONNXArtifact:
    """Write, check and commit one artifact.

    Args:
        plan: The result of :func:`prepare` for a module of the same structure.
        module: A private copy with the weights to export.
        directory: The artifact's directory; must not exist.
        source: Where the weights come from.
        started: ``time.perf_counter()`` at which the export began; default: now.

    Returns:
        The artifact; it is kept and marked where a check failed.

    Raises:
        ArtifactError: If it cannot be written.
    """
    started = time.perf_counter() if started is None else started
    config = plan.config
    flat = FlatModule(module, config.method, plan.graph.request.sample)
    with artifacts.stage(directory.parent) as staged:
        path = staged / artifacts.MODEL
        plan.graph.refresh(flat, _embedded(config, source), path)
        context = _context(plan, flat, path)
        results = [_run_check(check, context) if config.has_weights else _no_weights(check) for check in config.checks]
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
        manifest = _manifest(plan, path, source, results, notes)
        manifest["scalars"]["export_seconds"] = round(time.perf_counter() - started, 3)
        (staged / "report.html").write_text(Report(manifest).html(), encoding="utf-8")
        return artifacts.commit(staged, manifest, directory)


def _context(plan: Plan, flat: FlatModule, path: Path) -> CheckContext:
    return CheckContext(
        path, plan.graph.signature, runtimes.get("onnxruntime"), flat.reference, plan.cases, flat.nudged
    )


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


def _embedded(config: ExportConfig, source: weights.Source) -> dict[str, str]:
    """What travels in the model file itself."""
    own = {k: v for k, v in dataclasses.asdict(source).items() if v is not None}
    installed = versions()
    return {
        **{f"lightning_onnx.{k}": v if isinstance(v, str) else json.dumps(v) for k, v in own.items()},
        **{f"lightning_onnx.version.{k}": installed[k] for k in ("torch", "lightning", "lightning_onnx")},
        **(config.metadata or {}),
    }


def _manifest(
    plan: Plan, path: Path, source: weights.Source, results: Sequence[CheckResult], notes: Sequence[str]
) -> dict[str, Any]:
    import onnx

    proto = onnx.load(str(path), load_external_data=False)
    signature = plan.graph.signature
    scalars = {key: value for result in results for key, value in result.scalars.items()}
    size = sum(f.stat().st_size for f in path.parent.glob(f"{path.name}*"))
    return {
        "format_version": artifacts.FORMAT_VERSION,
        "model": {
            "file": path.name,
            **artifacts.describe_file(path),
            "opset": next(o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")),
            "ir_version": proto.ir_version,
            "engine": plan.graph.traced.engine,
            "engine_reason": plan.engine_reason,
        },
        "inputs": [_spec(s) for s in signature.inputs],
        "outputs": [_spec(s) for s in signature.outputs],
        "relations": list(signature.relations),
        "source": {**dataclasses.asdict(source), "method": plan.config.method, "sample": plan.source},
        "checks": [result.to_dict() for result in results],
        "scalars": {**scalars, "size_mib": size / 2**20},
        "variants": [],
        "notes": list(notes),
        "versions": versions(),
    }


def _spec(spec: Any) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}


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
    sample = sample_of(module, config.method, (positional, dict(kwargs or {})))
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


def as_call(sample: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read a sample as Lightning reads ``example_input_array``: a tuple or dict of arguments, or one argument."""
    if isinstance(sample, tuple) and not hasattr(sample, "_fields"):
        return sample, {}
    if type(sample) is dict:
        return (), sample
    return (sample,), {}


def sample_of(module: nn.Module, method: str, call: tuple[tuple[Any, ...], dict[str, Any]]) -> Any:
    """Bind a call that a user gave.

    Raises:
        ConfigurationError: If it does not fit the method, or the method does not exist.
    """
    if not callable(getattr(module, method, None)):
        raise ConfigurationError(
            f"method={method!r}: {type(module).__name__} has no such method. Name one that it has."
        )
    signature = method_signature(module, method)
    try:
        return make_sample(signature, *call)
    except TypeError as error:
        raise ConfigurationError(
            f"the sample does not fit {type(module).__name__}.{method}{signature}: {error}. "
            "Give the arguments of one call."
        ) from error
