"""The decisions of the traced call that a graph keeps: inputs to compare on, and notes for the user."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lightning_onnx.module.cases import Case
from lightning_onnx.module.decisions.record import WITHOUT_WARNING
from lightning_onnx.module.decisions.search import Searched, search
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.runner import Runner
from lightning_onnx.tracing.graph import Graph

_LISTED = 4
"""Maximum number of places named in one note."""

_TRIED = (
    "other observed rows, zeros, equal, mirrored, scaled, shifted and random values, values moved towards the condition"
)


@dataclasses.dataclass(frozen=True)
class KeptDecisions:
    """The decisions that a graph keeps.

    Attributes:
        cases: Inputs on which the method decides differently from the traced call.
        changed: Places, human-readable, with a decision that some input changed.
        unchanged: Places with a decision that no input changed.
        tried: Number of inputs that were tried.
        loops: ``file:line`` of the loops whose number of steps some input changed; the graph keeps the traced number.
    """

    cases: tuple[Case, ...] = ()
    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    tried: int = 0
    loops: tuple[str, ...] = ()

    @classmethod
    def of(cls, graph: Graph, searched: Searched) -> KeptDecisions:
        """Return the results of a search for the decisions that a graph keeps.

        Args:
            graph: The graph.
            searched: The result of the search.
        """
        kept = set(graph.traced.kept)
        by_torchscript = graph.traced.engine == "torchscript"
        traced = searched.traced
        sites = [s for s in traced.sites() if s.where in kept or (by_torchscript and s.what in WITHOUT_WARNING)]
        lines = kept - {site.where for site in traced.sites()}
        if by_torchscript and not traced.has_value_sizes:
            lines = set()  # conditions on the sizes of inputs
        sites = [s for s in sites if s not in traced.fixed and searched.may_decide(s)]
        unflipped = [str(site) for site in sites if site in searched.unflipped]
        unflipped += [_by_size(line) for line in sorted(lines - searched.flipped_lines)]
        moved = [str(site) for site in sites if site not in searched.unflipped]
        moved += [_by_size(line) for line in sorted(lines & searched.flipped_lines)]
        loops = tuple(sorted(searched.uneven_loops)) if moved else ()
        return cls(searched.cases, tuple(moved), tuple(unflipped), searched.tried, loops)

    @property
    def warning(self) -> str | None:
        """A warning about decisions that no input changed; None if there are none."""
        if not self.unchanged:
            return None
        return (
            f"the method makes a decision based on tensor values at {_listed(self.unchanged)}, and the graph keeps the "
            f"decision of the traced call: none of {self.tried} other inputs ({_TRIED}) changed the decision, so the "
            "file was not tested on inputs that do"
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """All notes for the user."""
        notes = [self.warning] if self.warning else []
        if self.changed:
            compared = (
                f"the file was compared on {len(self.cases)} inputs that change it"
                if self.cases
                else "the method raises on inputs that change it, but the file does not"
            )
            notes.append(
                f"the method makes a decision based on tensor values at {_listed(self.changed)}, and the graph keeps "
                f"the decision of the traced call; {compared}"
            )
        if self.loops:
            notes.append(f"{steps_depend_on_values(self.loops)}, and the graph keeps that of the traced call")
        return tuple(notes)


def steps_depend_on_values(loops: Sequence[str]) -> str:
    """Return a clause that names the loops.

    Args:
        loops: ``file:line`` of each.
    """
    return f"the number of steps of the loop at {_listed(loops)} depends on tensor values"


def with_weights(graph: Graph, flat: FlatModule, cases: Sequence[Case]) -> KeptDecisions:
    """Search again with other weights, which may change the decisions on other inputs.

    Args:
        graph: The graph.
        flat: The module with these weights.
        cases: Inputs on which the file is compared, including those that changed a decision with other weights.
    """
    if not may_keep(graph):
        return KeptDecisions()
    return KeptDecisions.of(graph, search(Runner(flat), graph.request, cases))


def may_keep(graph: Graph) -> bool:
    """Tell whether a graph may keep decisions based on tensor values; a TorchScript graph always may."""
    return bool(graph.traced.kept) or graph.traced.engine == "torchscript"


def _by_size(line: str) -> str:
    return f"{line} (a condition on a value or on a size that depends on values)"


def _listed(places: Sequence[str]) -> str:
    more = f" and {len(places) - _LISTED} more places" if len(places) > _LISTED else ""
    return f"{', '.join(places[:_LISTED])}{more}"
