"""What a graph consists of, as records: operators by count, modules by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class ModuleSummary:
    """What one module brings into a graph, without its submodules.

    Attributes:
        class_name: Name of its class, None if unknown.
        bytes: Size of its weights in bytes.
        operators: Number of its nodes by operator.
    """

    class_name: str | None = None
    bytes: int = 0
    operators: Mapping[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class GraphSummary:
    """What a graph consists of.

    Attributes:
        nodes: Number of nodes, including those in the bodies of loops and conditions.
        operators: Number of nodes by operator, most frequent first.
        modules: What each module brings, by qualified name; the empty name stands for the whole.
    """

    nodes: int = 0
    operators: Mapping[str, int] = dataclasses.field(default_factory=dict)
    modules: Mapping[str, ModuleSummary] = dataclasses.field(default_factory=dict)
