"""Variables that belong only to a private copy's code: copies of the user's globals, and of closed-over variables."""

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
        home: The globals dict that contains it, or its cell.
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
    """Register the variables that belong only to a private copy."""
    _OWN[copied] = tuple(variables)


def own_variables(copied: nn.Module) -> tuple[Variable, ...]:
    """Return the variables that belong only to a private copy."""
    return _OWN.get(copied, ())
