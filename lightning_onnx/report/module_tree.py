"""The tree of a model's modules, made from the outline in its manifest."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass
class Module:
    """A module with what is below it.

    Attributes:
        name: Its qualified name; empty for the whole.
        label: What stands in the tree: the part of the name that its parent lacks.
        kind: Its class, None where unknown.
        bytes: Size of the weights, of those below too.
        operators: Its operators by count, those below too.
        children: The modules in it.
    """

    name: str
    label: str
    kind: str | None = None
    bytes: int = 0
    operators: Counter[str] = dataclasses.field(default_factory=Counter)
    children: list[Module] = dataclasses.field(default_factory=list)

    @property
    def nodes(self) -> int:
        """Number of operators."""
        return self.operators.total()

    def largest(self, most: int = 12) -> list[Module]:
        """Return where the bytes are: the children, and in place of one that holds nearly all, its own."""
        here = self
        while True:
            full = sorted((c for c in here.children if c.bytes), key=lambda c: -c.bytes)
            if not full or full[0].bytes < 0.9 * self.bytes or not any(c.bytes for c in full[0].children):
                return full[:most]
            here = full[0]


def tree(modules: Mapping[str, Mapping[str, Any]]) -> Module:
    """Return the whole as a tree.

    Args:
        modules: By qualified name the ``class``, own ``bytes`` and own ``operators``.

    Example:
        >>> whole = tree({"net.0": {"class": "Linear", "bytes": 8, "operators": {"Gemm": 1}}})
        >>> whole.bytes, [child.label for child in whole.children]
        (8, ['net'])
    """
    known: dict[str, Module] = {"": Module("", "")}
    for name in modules:
        parts = name.split(".")
        for depth in range(1, len(parts) + 1 if name else 0):
            full, parent = ".".join(parts[:depth]), ".".join(parts[: depth - 1])
            if full not in known:
                known[full] = Module(full, parts[depth - 1])
                known[parent].children.append(known[full])
    for name, own in modules.items():
        known[name].kind = own["class"]
        while True:
            known[name].bytes += own["bytes"]
            known[name].operators.update(own["operators"])
            if not name:
                break
            name = name.rpartition(".")[0]
    return known[""]
