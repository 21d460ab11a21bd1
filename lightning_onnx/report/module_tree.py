"""The tree of a model's modules, with the bytes and operators of each, submodules included."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping

from lightning_onnx.onnxfile.graph_summary import ModuleSummary

_REST, _WHOLE = "everything else", "the whole model"
_DEEPEST = 50
"""Levels of the tree; what is deeper has the rest of its name as its label."""


@dataclasses.dataclass
class Module:
    """A module and its submodules.

    Attributes:
        name: Its qualified name; empty for the whole model.
        label: What the tree shows: the last part of the name.
        kind: Name of its class, None if unknown.
        bytes: Size of the weights in bytes, submodules included.
        operators: Number of nodes by operator, submodules included.
        children: Its direct submodules.
    """

    name: str
    label: str
    kind: str | None = None
    bytes: int = 0
    operators: Counter[str] = dataclasses.field(default_factory=Counter)
    children: list[Module] = dataclasses.field(default_factory=list)

    @property
    def nodes(self) -> int:
        """Number of nodes, submodules included."""
        return self.operators.total()

    def sizes(self, most: int = 12) -> list[tuple[str, int]]:
        """Return name and bytes of the largest parts, and of the rest, so that they add up to the whole.

        The parts are the children; while one child holds nearly all of the bytes, that child's own.
        """
        here = self
        while True:
            full = sorted((c for c in here.children if c.bytes), key=lambda c: -c.bytes)
            if not full or full[0].bytes < 0.9 * self.bytes or not any(c.bytes for c in full[0].children):
                break
            here = full[0]
        found = [(child.name, child.bytes) for child in full[:most]]
        rest = self.bytes - sum(own for _, own in found)
        return [*found, (_REST if found else _WHOLE, rest)] if rest else found


def tree(modules: Mapping[str, ModuleSummary]) -> Module:
    """Return the whole model as a tree.

    Args:
        modules: What each module brings without its submodules, by qualified name.

    Example:
        >>> whole = tree({"net.0": ModuleSummary("Linear", 8, {"Gemm": 1})})
        >>> whole.bytes, [child.label for child in whole.children]
        (8, ['net'])
    """
    known: dict[str, Module] = {"": Module("", "")}
    for name, own in modules.items():
        branch = [known[""]]
        for full, label in _path(name):
            if full not in known:
                known[full] = Module(full, label)
                branch[-1].children.append(known[full])
            branch.append(known[full])
        branch[-1].kind = own.class_name
        for module in branch:
            module.bytes += own.bytes
            module.operators.update(own.operators)
    return known[""]


def _path(name: str) -> list[tuple[str, str]]:
    """Return the qualified name and the label of a module and of those around it, outermost first."""
    parts = name.split(".", _DEEPEST - 1) if name else []
    return [(".".join(parts[: depth + 1]), part) for depth, part in enumerate(parts)]
