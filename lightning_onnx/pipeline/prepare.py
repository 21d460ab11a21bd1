"""``prepare``: everything that is done once for all sets of weights, from the observed calls to a tested graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.call_state import attribute_names
from lightning_onnx.module.calls.batch_dim import static_batch_dims
from lightning_onnx.module.calls.names import check_axes_names
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.request import Request, derive
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.probing import observed_cases
from lightning_onnx.module.runner import Runner, first_that_runs
from lightning_onnx.module.saved import Place
from lightning_onnx.module.weights import attributes, state
from lightning_onnx.pipeline import left_out
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.decisions import KeptDecisions
from lightning_onnx.pipeline.search import find_graph
from lightning_onnx.tracing.graph import Graph


@dataclasses.dataclass(frozen=True)
class Plan:
    """The result of ``prepare``, used for every set of weights.

    Attributes:
        config: The options.
        request: The graph requested from the engines; ``graph.request`` is the one that they achieved.
        graph: The traced graph.
        engine_reason: Why this engine was chosen.
        cases: Inputs that the module takes: traced sizes, observed batches, sizes not traced.
        notes: What the user should know.
        remarks: Notes that surprise nobody: they go into the manifest without a warning.
        structure: The module's structure; a graph is stale when it changes.
        source: Where the sample comes from.
        is_stochastic: Whether the method draws random numbers in eval mode.
        decisions: The decisions of the traced call that the graph keeps.
        kept_state: Attributes through which a call changes the results of later ones.
        written_outside: Variables outside of the module that a call changes; they are put back afterwards.
        attributes: Digests of the plain attributes that the method reads; a graph is stale when one changes.
    """

    config: ExportConfig
    request: Request
    graph: Graph
    engine_reason: str
    cases: tuple[Case, ...]
    notes: tuple[str, ...]
    structure: tuple[Any, ...]
    source: str
    is_stochastic: bool
    decisions: KeptDecisions
    remarks: tuple[str, ...] = ()
    kept_state: tuple[Place, ...] = ()
    written_outside: tuple[Place, ...] = ()
    attributes: Mapping[Place, str] = dataclasses.field(default_factory=dict)

    def serves(self, module: nn.Module) -> bool:
        """Tell whether the graph fits a private copy: same structure, and same values of plain attributes it reads."""
        same_structure = self.structure == state.structure_of(module)
        return same_structure and attributes.digests(module, self.attributes) == self.attributes

    def unknown_attributes(self, module: nn.Module, known: bool) -> list[str]:
        """Return a note on attributes whose values at the time of the exported weights are unknown.

        Args:
            module: The private copy.
            known: Whether these values are known.
        """
        found = [] if known else attributes.set_later(module, self.attributes)
        if not found:
            return []
        return [f"not in the checkpoint, so the module's current values are used: {attribute_names(found)}"]

    @property
    def refreshes(self) -> bool:
        """Whether new weights can be written without tracing the module again."""
        return self.graph.refreshes

    def with_decisions(self, decisions: KeptDecisions) -> Plan:
        """Return the plan with the decisions found with other weights, and their notes."""
        cases = (*(case for case in self.cases if case.kind != "decision"), *decisions.cases)
        notes = (*(note for note in self.notes if note != self.decisions.warning), *decisions.notes)
        return dataclasses.replace(self, cases=cases, notes=notes, decisions=decisions)

    def covers(self, request: Request) -> bool:
        """Tell whether this plan covers the calls of ``request``: same inputs, and no static dim that varies now."""
        return (request.input_names, request.axes) == (self.request.input_names, self.request.axes)

    def fits(self, observations: Sequence[Observation]) -> bool:
        """Tell, without running the module, whether all calls so far have the sizes of this plan's static dims."""
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


def prepare(
    module: nn.Module, observations: Sequence[Observation], config: ExportConfig, *, refuse_decisions: bool = True
) -> Plan:
    """Derive the signature, trace the graph, and test it at sizes that were not traced.

    Args:
        module: A private copy (see ``lightning_onnx.module.weights.copying.private_copy``).
        observations: Ways in which the method is called, best first.
        config: The options.
        refuse_decisions: Whether to raise if a graph is wrong only where the method decides differently from the traced
            call; otherwise the check of the trained weights fails later.

    Raises:
        SampleError: If the module takes none of the observed calls.
        ConfigurationError: If names or axes do not fit the module.
        EngineError: If no engine can translate the module.
        ParityError: If the outputs of the best graph differ from the module's.
    """
    observation, run, request = _derived(module, observations, config)
    notes = observation.notes
    found = find_graph(run, request, config, refuse_decisions=refuse_decisions)
    unused = _unused(found.graph, observation)
    if unused and config.input_names is None:
        reduced = observation.with_constants(unused)
        observation, run, request = _derived(module, [reduced], config)
        notes = (*reduced.notes, f"left out of the graph, which does not use it: {', '.join(unused.values())}")
        found = find_graph(run, request, config, refuse_decisions=refuse_decisions)
    without_effect = (found.graph.request.input_names[i] for i in found.graph.traced.unused_inputs)
    notes = (*notes, *left_out.outputs(run, request))
    if found.decisions.warning:
        notes = (*notes, found.decisions.warning)
    kept_state = run.flat.state_between_calls(request.tensors)
    if kept_state:
        notes = (
            *notes,
            f"the method keeps state between calls ({attribute_names(kept_state)}); the graph contains the state that "
            "the module had when it was traced, such as after the last training batch",
        )
    return Plan(
        config,
        request,
        found.graph,
        engine_reason=_engine_reason(found.graph, config),
        cases=_without_outputs(found.cases),
        notes=(
            *notes,
            *found.notes,
            *_static_batch(observation, request, found.graph, config),
            *(f"input '{name}' has no effect on the outputs" for name in without_effect),
        ),
        structure=state.structure_of(module),
        source=observation.source,
        is_stochastic=run.flat.draws_random_numbers(request.tensors),
        remarks=(*observation.remarks, *left_out.constants(request)),
        decisions=found.decisions,
        kept_state=kept_state,
        written_outside=tuple(sorted(run.flat.call_state.written_outside)),
        attributes=attributes.digests(module, _read(run.flat, request)),
    )


def with_calls(plan: Plan, module: nn.Module, request: Request) -> Plan:
    """Return the same plan with further cases: the calls that were observed since it was made.

    Args:
        plan: The plan.
        module: A private copy.
        request: The request derived from all calls so far.
    """
    now = dataclasses.replace(plan.graph.request, samples=request.samples)
    cases = observed_cases(now, Runner(FlatModule(module, plan.config.method, now.sample)))
    known = {case.label for case in plan.cases}
    ranges = plan.graph.signature.ranges
    new = [
        case
        for case in cases
        if case.label not in known
        and all(size in ranges[dim] for dim, size in now.sizes(case.tensors).items() if dim in ranges)
    ]
    return dataclasses.replace(plan, cases=(*plan.cases, *_without_outputs(new)))


def _read(flat: FlatModule, request: Request) -> list[Place]:
    """Return the plain attributes that the method reads and does not change itself."""
    found = attributes.read_in(flat.module, lambda: flat.outputs(request.tensors))
    return sorted(found - flat.call_state.written)


def _without_outputs(cases: Iterable[Case]) -> tuple[Case, ...]:
    """Remove the expected outputs, which are different with other weights."""
    return tuple(dataclasses.replace(case, expected=None) for case in cases)


def _unused(graph: Graph, observation: Observation) -> dict[int, str]:
    """Return the parts of arguments that the graph does not use, such as the labels of a batch, by index.

    An argument that is itself a tensor stays an input, used or not.
    """
    paths = observation.samples[0].structure.paths
    found = {i: ".".join(paths[i]) for i in graph.traced.unused_inputs if len(observation.samples[0].paths[i]) > 1}
    return found if len(found) < len(paths) else {}


def _static_batch(observation: Observation, request: Request, graph: Graph, config: ExportConfig) -> Iterator[str]:
    """Yield notes on static dims that look like the batch; the search has its own notes on requested dims."""
    if config.dynamic_axes != "auto":
        return
    for i, d, factor in static_batch_dims(observation, graph.request.axes):
        if d not in request.axes[i]:
            multiple = "the loader's batch size" if factor == 1 else f"{factor} times the loader's batch size"
            yield (
                f"dim {d} of input '{request.input_names[i]}' is static: it has {multiple} "
                f"({request.tensors[i].shape[d]}), and the module took no other size that was tried"
            )


def derive_request(module: nn.Module, observations: Sequence[Observation], config: ExportConfig) -> Request:
    """Return the request for all calls so far, without tracing; arguments and errors as for ``prepare``."""
    return _derived(module, observations, config)[2]


def _derived(
    module: nn.Module, observations: Sequence[Observation], config: ExportConfig
) -> tuple[Observation, Runner, Request]:
    observation, run = first_that_runs(module, config.method, observations, config.exclude_inputs)
    request = derive(
        observation,
        run,
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
        return "it was requested"
    if graph.traced.engine == "dynamo":
        return "the torch.export based engine comes first"
    if config.opset < 17:
        return f"only the TorchScript based engine writes opset {config.opset}"
    return "the torch.export based engine does not translate the module correctly at all its sizes"
