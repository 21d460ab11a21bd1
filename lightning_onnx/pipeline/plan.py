"""The plan: the result of ``prepare``, used to write every set of weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from lightning_onnx.checks.judged import Judged
from lightning_onnx.module.call_state import attribute_names
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.cases import Case
from lightning_onnx.module.saved import Place
from lightning_onnx.module.weights import attributes, leftover, state
from lightning_onnx.module.weights.digests import digests
from lightning_onnx.module.weights.stamp import Stamp
from lightning_onnx.pipeline import left_out
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.decisions import KeptDecisions
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.observed_sizes import ObservedSizes, observed_sizes
from lightning_onnx.tracing.graph import Graph


@dataclasses.dataclass(frozen=True)
class Proof:
    """What the search found out about the weights with which the module was traced.

    Attributes:
        weights: The module and its weights.
        judged: How the file of the graph with these weights was judged.
    """

    weights: Stamp
    judged: Judged


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
        affordable_cases: On how many inputs the module can be run within a few seconds; see ``affordable_cases``.
        decisions: The decisions of the traced call that the graph keeps.
        kept_state: Attributes through which a call changes the results of later ones.
        reset_state: Those of them that begin as None: the graph has no state in them.
        written_outside: Variables outside the module that a call changes; they are restored afterwards.
        attributes: Digests of what the method reads besides weights; a graph is stale when one changes.
        left_out: Names of the parts of arguments that the graph does not use, and that are not inputs.
        sizes: The sizes of each dynamic dim in the calls so far.
        takes_batches: Whether the method gets parts of batches, and not what another exported method makes of them; yes
            where nothing tells.
        proof: What the search found out about the traced weights; None if a call of the method changed them meanwhile.
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
    affordable_cases: int
    decisions: KeptDecisions
    remarks: tuple[str, ...] = ()
    kept_state: tuple[Place, ...] = ()
    reset_state: tuple[Place, ...] = ()
    written_outside: tuple[Place, ...] = ()
    attributes: Mapping[Place, str] = dataclasses.field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    sizes: ObservedSizes = dataclasses.field(default_factory=ObservedSizes)
    takes_batches: bool = True
    proof: Proof | None = None

    def serves(self, module: nn.Module) -> bool:
        """Tell whether the graph fits a private copy: same structure, and same values of all that the method reads."""
        return self.changed(module) is None

    def changed(self, module: nn.Module) -> str | None:
        """Return what a private copy has changed since the trace, so that the graph does not fit; None if it fits."""
        if self.structure != state.structure_of(module):
            return "its layers, or the shapes of its weights, changed"
        now, before = digests(module, self.config.traced_method), self.attributes
        if now == before:
            return None
        places = [place for place in {**before, **now} if now.get(place) != before.get(place)]
        return f"what it reads changed: {attribute_names(places)}"

    @property
    def is_repeatable(self) -> bool:
        """Whether calls on the same inputs have the same outputs: no random numbers, and no state between calls."""
        return not (self.is_stochastic or self.kept_state or self.written_outside)

    def judged(self, module: nn.Module) -> Judged | None:
        """Return how the file was judged that the graph gives with a module's weights; None unless they were traced.

        Args:
            module: The private copy.
        """
        if self.proof is None or not (self.refreshes and self.is_repeatable and self.proof.weights.fits(module)):
            return None
        return self.proof.judged

    def reset(self, module: nn.Module) -> None:
        """Remove from a private copy the state that calls left and that the graph does not have."""
        leftover.reset(module, self.reset_state)

    def unknown_attributes(self, loaded: LoadedModule) -> list[str]:
        """Return a note on attributes that do not have their values at the time of the exported weights.

        Args:
            loaded: The private copy with these weights.
        """
        moment = loaded.moment
        if moment is None:
            found = list(dict.fromkeys((*attributes.set_later(loaded.module, self.attributes), *loaded.changed)))
        else:
            found = [place for place, now in self.attributes.items() if moment.get(place, now) != now]
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

    def with_sizes(self, observations: Sequence[Observation]) -> Plan:
        """Return the plan with the sizes of these calls, and notes on those that the file is not for."""
        sizes = observed_sizes(self.graph.request, self.graph.signature, observations)
        notes = left_out.calls(
            self.notes, observations, self.graph.request, (*self.config.exclude_inputs, *self.left_out)
        )
        is_same = sizes == self.sizes and notes == self.notes
        return self if is_same else dataclasses.replace(self, sizes=sizes, notes=notes)

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
