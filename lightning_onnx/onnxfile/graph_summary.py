"""What a graph consists of, as records: operators by count, modules by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

MOST_BLOCKS = 12
"""Blocks that a reader takes in at a glance."""


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
class Block:
    """A part of a graph that a picture shows as one box: a module, neighbours of one class, or operators of no module.

    Attributes:
        label: Qualified name of the module, ``"first … last"`` for several, else the operators' names.
        class_name: Name of the module's class, None if unknown.
        nodes: Number of its nodes.
        shape: Shape of what it returns, None if unknown or if it returns more than one tensor.
        sources: The blocks whose values it takes, by position; -1 stands for the graph's inputs.
    """

    label: str
    class_name: str | None
    nodes: int
    shape: tuple[int | str, ...] | None
    sources: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class GraphSummary:
    """What a graph consists of.

    Attributes:
        nodes: Number of nodes, including those in the bodies of loops and conditions.
        operators: Number of nodes by operator, most frequent first.
        modules: What each module brings, by qualified name; the empty name stands for the whole.
        blocks: Its few large parts, in the order in which they run; empty if it is not known.
    """

    nodes: int = 0
    operators: Mapping[str, int] = dataclasses.field(default_factory=dict)
    modules: Mapping[str, ModuleSummary] = dataclasses.field(default_factory=dict)
    blocks: tuple[Block, ...] = ()
