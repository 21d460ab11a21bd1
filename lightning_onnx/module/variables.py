"""Variables that code of a private copy has to itself: globals of the user's files, and what functions close over."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Iterable
from types import CellType
from typing import Any

from torch import nn


@dataclasses.dataclass(frozen=True)
class Variable:
    """A global variable, or one that functions close over.

    Attributes:
        name: Its name in the code.
        home: The globals that it is in, or its cell.
    """

    name: str
    home: dict[str, Any] | CellType

    @property
    def value(self) -> Any:
        """Return the value."""
        return self.home[self.name] if isinstance(self.home, dict) else self.home.cell_contents

    def set(self, value: Any) -> None:
        """Assign another value."""
        if isinstance(self.home, dict):
            self.home[self.name] = value
        else:
            self.home.cell_contents = value


_OWN: weakref.WeakKeyDictionary[nn.Module, tuple[Variable, ...]] = weakref.WeakKeyDictionary()


def give(copied: nn.Module, variables: Iterable[Variable]) -> None:
    """Say which variables a private copy has to itself."""
    _OWN[copied] = tuple(variables)


def own_variables(copied: nn.Module) -> tuple[Variable, ...]:
    """Return the variables that a private copy has to itself."""
    return _OWN.get(copied, ())
