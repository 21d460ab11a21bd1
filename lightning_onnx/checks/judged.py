"""Remembers how the cases of one file were judged: none is compared twice with the same bytes and weights."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from lightning_onnx.checks.comparison import Comparison
from lightning_onnx.module.arrays import Content, content_of
from lightning_onnx.module.cases import Case

if TYPE_CHECKING:
    from lightning_onnx.checks.base import CheckedFile, CheckedModule

_Key = tuple[Hashable, str, bool, tuple[Content, ...]]
"""Who judged, the kind of the case, whether it is beyond the observed values, and what its tensors hold."""


class Judged:
    """The comparisons of one file with one module: same bytes, same weights, and no random numbers or kept state.

    Only figures are kept, no outputs. A context uses them only for the file and the module that they are bound to: a
    check that replaces the file, the runtime or the module judges anew.

    Example:
        >>> import torch
        >>> from lightning_onnx.checks.comparison import Comparison
        >>> from lightning_onnx.module.cases import Case
        >>> judged, case = Judged(), Case("traced", (torch.zeros(2),), kind="traced")
        >>> judged.add("parity", case, (Comparison("y"),))
        >>> len(judged.of("parity", case)), judged.of("another tolerance", case)
        (1, None)
    """

    def __init__(self) -> None:
        self._known: dict[_Key, tuple[Comparison, ...]] = {}
        self._bound: tuple[CheckedFile, CheckedModule] | None = None

    def of(self, judge: Hashable, case: Case) -> tuple[Comparison, ...] | None:
        """Return the comparisons of a case; None if it was not judged.

        Args:
            judge: What compares: the same tolerances are equal.
            case: The inputs.
        """
        return self._known.get(_key(judge, case))

    def add(self, judge: Hashable, case: Case, comparisons: tuple[Comparison, ...]) -> None:
        """Remember the comparisons of a case. The first two arguments are those of ``of``."""
        self._known[_key(judge, case)] = comparisons

    def bound_to(self, file: CheckedFile, module: CheckedModule) -> Judged:
        """Return the same comparisons for another view of the file and the module, such as a copy with equal bytes.

        What is added to one of them is known to both.

        Args:
            file: The file.
            module: The module.
        """
        other = Judged()
        other._known, other._bound = self._known, (file, module)
        return other

    def is_of(self, file: CheckedFile, module: CheckedModule) -> bool:
        """Tell whether these are the file and the module themselves to which the comparisons are bound."""
        return self._bound is not None and self._bound[0] is file and self._bound[1] is module

    def without(self, case: Case) -> Judged:
        """Return the same without one case, which is then judged again.

        Args:
            case: The inputs.
        """
        content = tuple(map(content_of, case.tensors))
        other = Judged()
        other._known = {key: found for key, found in self._known.items() if key[-1] != content}
        other._bound = self._bound
        return other


def _key(judge: Hashable, case: Case) -> _Key:
    return judge, case.kind, case.beyond, tuple(map(content_of, case.tensors))
