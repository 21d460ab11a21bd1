"""``prepare`` once, ``produce`` for every set of weights; ``export`` is both, without a Trainer."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx import artifact as artifacts
from lightning_onnx import divergence, manifest, matching, targets, testdata, weights
from lightning_onnx.artifact import ONNXArtifact
from lightning_onnx.checks.base import Case, CheckContext, CheckResult
from lightning_onnx.config import ExportConfig
from lightning_onnx.errors import ArtifactError, ConfigurationError, SampleError, first_line
from lightning_onnx.flat import FlatModule
from lightning_onnx.graph import Graph
from lightning_onnx.narrowing import narrowed
from lightning_onnx.observe import Observation
from lightning_onnx.privacy import without_paths
from lightning_onnx.randomness import random_states_kept
from lightning_onnx.report import Report
from lightning_onnx.runtimes import base as runtimes
from lightning_onnx.signature import Request, check_axes_names, derive
from lightning_onnx.template import lower_ir_version
from lightning_onnx.trial import Runner, cases_of, first_that_runs
from lightning_onnx.validation import NO_LOADERS, Call, Loaders, Validation
from lightning_onnx.variants import judging

log = logging.getLogger(__name__)

_NO_WEIGHTS = "the file holds no weights (export_params=False)"


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
        module: A private copy (see ``lightning_onnx.weights.private_copy``).
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
    graph, cases = narrowed(run, request, config, notes)
    unused = _unused(graph, observation)
    if unused and config.input_names is None:
        reduced = observation.with_constants(unused)
        observation, run, request = _derived(module, [reduced], config)
        notes = [*reduced.notes, f"left out of the graph, which does not use it: {', '.join(unused.values())}"]
        graph, cases = narrowed(run, request, config, notes)
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
    """Return what the engines would be asked for now, without tracing; arguments and errors as for ``prepare``."""
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
    loaders: Loaders = NO_LOADERS,
) -> ONNXArtifact:
    """Write, check and commit one artifact.

    Args:
        plan: The result of ``prepare`` for a module of the same structure.
        module: A private copy with the weights to export.
        directory: The artifact's directory.
        source: Where the weights come from.
        started: ``time.perf_counter()`` at which the export began; default: now.
        beside: Whether a training goes on meanwhile, which is to keep its cores and its random state.
        replace: Whether an artifact that is there goes.
        step: Is told the name of each stage, for people who wait.
        loaders: Validation batches, for the checks that ask for them.

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
        context = _context(plan, flat, path, loaders, threads=1 if beside else 0)
        results = [
            _run_check(check, context) if config.has_weights else _no_weights(check) for check in config.every_check
        ]
        if config.variants:
            step("making the variants")
        made = (
            judging.make(config.variants, context, config)
            if config.has_weights
            else judging.not_made(config.variants, _NO_WEIGHTS)
        )
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
            variants=made,
            engine=plan.graph.traced.engine,
            engine_reason=plan.engine_reason,
            method=config.method,
            sample=plan.source,
            name=directory.name,
            module=type(module).__name__,
            metadata=config.metadata,
            request=plan.graph.request,
            target=config.target,
        )
        described["scalars"]["export_seconds"] = round(time.perf_counter() - started, 3)
        Report(described).write(staged)
        return artifacts.commit(staged, described, directory, replace)


def _context(plan: Plan, flat: FlatModule, path: Path, loaders: Loaders, threads: int) -> CheckContext:
    runtime = runtimes.get("onnxruntime", threads=threads)
    request = plan.graph.request
    call = Call(plan.config.method, plan.graph.signature, request.sample.paths, request.output_paths)
    context = CheckContext(
        path,
        plan.graph.signature,
        runtime,
        flat.reference,
        plan.cases,
        flat.nudged,
        plan.draws,
        flat,
        inner=divergence.inner_values(plan.graph.traced, flat),
    )
    try:
        return dataclasses.replace(context, validation=Validation(flat.module, loaders, call))
    except SampleError as error:
        return dataclasses.replace(context, no_validation=str(error))


def _run_check(check: Any, context: CheckContext) -> CheckResult:
    try:
        result = check(context)
    except Exception as error:  # a check that breaks has not passed
        log.debug("check %s", check.name, exc_info=True)
        told = without_paths(first_line(error))
        return CheckResult(check.name, "failed", f"the check itself failed: {told}")
    assert isinstance(result, CheckResult)
    return result


def _no_weights(check: Any) -> CheckResult:
    return CheckResult(check.name, "skipped", _NO_WEIGHTS, scalars={f"{check.name}_passed": 0.0})


# Without a Trainer --------------------------------------------------------------------------------------------------


@random_states_kept()
def export(
    module: nn.Module,
    args: Sequence[Any] | Tensor = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    directory: str | os.PathLike[str],
    dataloaders: Any = None,
    **options: Any,
) -> ONNXArtifact:
    """Export a module to an artifact without a Trainer.

    Args:
        module: Any module; it is copied and left as it is, and so are the random states.
        args: Positional arguments of a call of the method; a single tensor is taken as one argument.
        kwargs: Keyword arguments of the call.
        directory: The artifact's directory; must not exist.
        dataloaders: For checks that run the module's validation loop, what ``Trainer.validate`` takes.
        options: As for ``lightning_onnx.ONNXExport``: ``method``, ``input_names``, ``opset_version`` …

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
    if options.get("checks", ()) is None:
        del options["checks"]
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
        loaders=NO_LOADERS if dataloaders is None else Loaders(dataloaders, missing=None),
    )
