"""``prepare``: everything that is done once for all sets of weights, from the observed calls to a tested graph."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import torch
from torch import nn

from lightning_onnx.contract.find import check_fits
from lightning_onnx.errors import NotReadyError, SampleError, SearchTooLong
from lightning_onnx.module.calls.batch_parts import named_by_parts
from lightning_onnx.module.calls.names import check_axes_names, with_input_names, wrong_number
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.request import Request, derive
from lightning_onnx.module.cases import Case
from lightning_onnx.module.cost import affordable_cases
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.probing import observed_cases
from lightning_onnx.module.runner import Runner
from lightning_onnx.module.tracing_thread import tracing_thread
from lightning_onnx.module.weights import leftover, state
from lightning_onnx.module.weights.digests import digests
from lightning_onnx.module.weights.non_finite import non_finite_weights
from lightning_onnx.module.weights.stamp import Stamp
from lightning_onnx.pipeline import left_out, targets
from lightning_onnx.pipeline.complex_values import check_real
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.failing_step import call_that_runs, failing_step_named, no_tensor
from lightning_onnx.pipeline.input_parts import (
    are_fewer,
    check_number_of_names,
    is_whole,
    keeps_all,
    part_names,
    unused_parts,
)
from lightning_onnx.pipeline.plan import Plan, Proof
from lightning_onnx.pipeline.plan_notes import notes_of
from lightning_onnx.pipeline.raw_inputs import raw_observations
from lightning_onnx.pipeline.search import FoundGraph, find_graph
from lightning_onnx.pipeline.search_limit import SearchLimit
from lightning_onnx.pipeline.stages import OnStage, stages_named
from lightning_onnx.pipeline.unused_entries import EntriesRead, are_needed, have_same_results
from lightning_onnx.profile import profiled
from lightning_onnx.runtimes.base import DEFAULT
from lightning_onnx.runtimes.worker import client
from lightning_onnx.tracing.graph import Graph
from lightning_onnx.tracing.refusals import Refusals


def prepare(
    module: nn.Module,
    observations: Sequence[Observation],
    config: ExportConfig,
    *,
    refuse_decisions: bool = True,
    refusals: Refusals | None = None,
    limit: SearchLimit | None = None,
) -> Plan:
    """Derive the signature, trace the graph, and test it at sizes that were not traced.

    Args:
        module: A private copy (see ``lightning_onnx.module.weights.copying.private_copy``).
        observations: Ways in which the method is called, best first.
        config: The options.
        refuse_decisions: Whether to raise if a graph is wrong only where the method decides differently from the traced
            call; otherwise the check of the trained weights fails later.
        refusals: What engines have refused in this run, and are not asked again; new refusals are added.
        limit: How long the search for a graph may take; None for as long as it takes.

    Raises:
        SampleError: If the module takes none of the observed calls.
        NotReadyError: If it does not run in eval mode, or with ``refuse_decisions`` returns nothing finite.
        ConfigurationError: If names or axes do not fit the module, or the given labels or ranges the graph.
        EngineError: If no engine can translate the module.
        ParityError: If the outputs of the best graph differ from the module's.
        SearchTooLong: If the time is over before there is a graph.
        StageError: If a stage raises an exception that is not of this package.
    """
    with profiled(), tracing_thread(), stages_named(module, config.method, "deriving the signature") as enter:
        search = functools.partial(
            find_graph,
            config=config,
            refusals=Refusals() if refusals is None else refusals,
            limit=SearchLimit(None) if limit is None else limit,
            refuse_decisions=refuse_decisions,
        )
        return _prepare(module, observations, config, search, refuse_decisions, enter)


def _prepare(
    module: nn.Module,
    observations: Sequence[Observation],
    config: ExportConfig,
    search: Callable[[Runner, Request], FoundGraph],
    refuse_decisions: bool,
    enter: OnStage,
) -> Plan:
    observations = raw_observations(module, observations, config)
    weights = Stamp.of(module)
    targets.check_excluded(module, observations, config)
    observation, run, request = _derived(module, observations, config, may_leave_out=True)
    reset_state = leftover.begins_as_none(module, run.state_between_calls(request.tensors))
    if reset_state:
        leftover.reset(module, reset_state)
        weights = Stamp.of(module)
        observation, run, request = _derived(module, observations, config, may_leave_out=True)
    if refuse_decisions:
        enter("checking the outputs")
        _check_outputs(run, request, config)
    enter("searching for a graph")
    if config.has_weights:
        client.hosted(DEFAULT).start()  # it is needed as soon as there is a graph
    read = EntriesRead() if keeps_all(observation, config) else EntriesRead.by(run, request)
    names = part_names(observation)
    needed = {names[i] for i in read.sometimes}
    check_number_of_names(run, request, read.never, config)
    left = unused_parts(read.never, observation, config)  # mostly all of them, without a trace
    reduced = _without(module, observation, run, request, left, config)
    if reduced is not None:
        observation, run, request = reduced
    check_real(run, request, config.method)
    with failing_step_named(module, config.around, observation):
        found = search(run, request)
    unused = unused_parts(found.graph.traced.unused_inputs, observation, config, needed)
    further = _without(module, observation, run, request, unused, config)
    again = _found_in_time(search, *further[1:]) if further is not None else None
    if further is not None and again is not None:
        observation, run, request = further
        found = again
    left_names = (*(left.values() if reduced else ()), *(unused.values() if again else ()))
    if are_fewer(config.input_names, request.input_names):
        raise wrong_number("input", config.input_names, request.input_names, left_names)
    _check_contract(found.graph, config)
    enter("describing the graph")
    kept_state = run.state_between_calls(request.tensors)
    return Plan(
        config,
        request,
        found.graph,
        engine_reason=_engine_reason(found.graph, config),
        cases=_without_outputs(found.cases),
        notes=(
            *notes_of(observation, run, request, found, kept_state, left_names, config),
            *targets.notes_on(observations, run, request, config),
        ),
        structure=state.structure_of(module),
        source=observation.source,
        is_stochastic=run.flat.has_drawn,
        affordable_cases=affordable_cases(run, request.tensors),
        remarks=(*observation.remarks, *left_out.constants(request)),
        decisions=found.decisions,
        kept_state=kept_state,
        reset_state=reset_state,
        written_outside=tuple(sorted(run.flat.call_state.written_outside)),
        attributes=digests(module, config.traced_method),
        left_out=left_names,
        proof=Proof(weights, found.judged) if weights.fits(module) else None,
    ).with_sizes([observation])


def _found_in_time(search: Callable[[Runner, Request], FoundGraph], run: Runner, request: Request) -> FoundGraph | None:
    """Search again; return None if the time is over before there is a graph."""
    try:
        return search(run, request)
    except SearchTooLong:
        return None


def with_calls(plan: Plan, module: nn.Module, request: Request) -> Plan:
    """Return the same plan with further cases: the calls that were observed since it was made.

    Args:
        plan: The plan.
        module: A private copy.
        request: The request derived from all calls so far.
    """
    now = dataclasses.replace(plan.graph.request, samples=request.samples)
    run = Runner(FlatModule(module, plan.config.traced_method, now.sample))
    cases = observed_cases(now, run, [now.sizes(case.tensors) for case in plan.cases])
    known = {case.label for case in plan.cases}
    ranges = plan.graph.signature.ranges
    new = [
        case
        for case in cases
        if case.label not in known
        and all(size in ranges[dim] for dim, size in now.sizes(case.tensors).items() if dim in ranges)
    ]
    return dataclasses.replace(plan, cases=(*plan.cases, *_without_outputs(new)))


def _without_outputs(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Remove the expected outputs, which are different with other weights."""
    return tuple(dataclasses.replace(case, expected=None) for case in cases)


def _without(
    module: nn.Module,
    observation: Observation,
    run: Runner,
    request: Request,
    unused: Collection[int],
    config: ExportConfig,
) -> tuple[Observation, Runner, Request] | None:
    """Make parts of arguments constants of the calls; return None if there are none, or if a call needs them."""
    if not unused:
        return None
    kept = [name for i, name in enumerate(request.input_names) if i not in unused]
    if is_whole(config.input_names) and len(kept) < len(config.input_names):
        left = [name for i, name in enumerate(part_names(observation)) if i in unused]
        raise wrong_number("input", config.input_names, kept, left)
    try:
        reduced = _derived(module, [observation.with_constants(unused)], config, may_leave_out=True)
    except SampleError:
        return None
    return reduced if have_same_results(run, request, reduced[1], unused) else None


def derive_request(
    module: nn.Module, observations: Sequence[Observation], config: ExportConfig, left_out: Collection[str] = ()
) -> Request | None:
    """Return the request for all calls so far, without tracing; None if a call needs what the plan leaves out.

    Args:
        module: A private copy.
        observations: Ways in which the method is called, best first.
        config: The options.
        left_out: Names of parts of arguments that the plan leaves out.

    Raises:
        ONNXExportError: As for ``prepare``.
    """
    observations = raw_observations(module, observations, config)

    def places(observation: Observation) -> list[int]:
        return [i for i, name in enumerate(part_names(observation)) if name in left_out]

    if left_out:
        observation, run = call_that_runs(module, observations, config)
        if are_needed(places(observation), run, observation):
            return None
    return _derived(module, [o.with_constants(places(o)) for o in observations], config)[2]


def _derived(
    module: nn.Module, observations: Sequence[Observation], config: ExportConfig, *, may_leave_out: bool = False
) -> tuple[Observation, Runner, Request]:
    """Derive the request; while inputs may be left out and are more than the names, they keep derived names."""
    observation, run = call_that_runs(module, observations, config)
    is_named = not (may_leave_out and are_fewer(config.input_names, observation.samples[0].paths))
    around = config.around
    naming = tuple if around.takes_raw_sample else functools.partial(named_by_parts, module, around.observed_method)
    request = derive(
        observation,
        run,
        input_names=config.input_names if is_named else None,
        output_names=config.output_names,
        dynamic_axes=config.dynamic_axes,
        naming=naming,
    )
    if not request.output_names:
        raise no_tensor(module, config)
    if is_named and isinstance(config.dynamic_axes, Mapping):
        axes = with_input_names(config.dynamic_axes, request.input_names, request.sample.paths)
        check_axes_names(axes, request.input_names, request.output_names)
    return observation, run, request


def _check_outputs(run: Runner, request: Request, config: ExportConfig) -> None:
    """Raise if an output has no finite element: nothing could be compared with it."""
    outputs = run(request.tensors)
    for name, tensor in zip(request.output_names, outputs.tensors if outputs else (), strict=False):
        if tensor.is_floating_point() and tensor.numel() and not torch.isfinite(tensor).any():
            module = run.flat.module
            cause = non_finite_weights(module) or "its weights are finite"
            raise NotReadyError(
                f"no element of output '{name}' of {type(module).__name__}.{config.method} is finite in eval mode "
                f"({cause})."
            )


def _check_contract(graph: Graph, config: ExportConfig) -> None:
    """Raise if the given labels or ranges do not fit the graph: before the training, and not after it."""
    if config.given is not None:
        check_fits(config.given, graph.signature)


def _engine_reason(graph: Graph, config: ExportConfig) -> str:
    if config.engine != "auto":
        return "it was requested"
    if graph.traced.engine == "dynamo":
        return "based on torch.export, the first choice"
    if config.opset < 17:
        return f"only the TorchScript based engine writes opset {config.opset}"
    return "the torch.export based engine does not translate the module correctly at all its sizes"
