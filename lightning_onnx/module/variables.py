"""Variables outside of a module that its code reads or writes: globals, what functions close over, class attributes."""

from __future__ import annotations

import dataclasses
from types import CellType
from typing import Any


class Nothing:
    """What a variable has that is not assigned."""


NOTHING = Nothing()


@dataclasses.dataclass(frozen=True)
class Variable:
    """A global variable, one that functions close over, or an attribute of a class.

    Attributes:
        owner: What it belongs to, as it is told: a file, a function or a class.
        name: Its name in the code.
        home: The globals that it is in, its cell, or its class.
    """

    owner: str
    name: str
    home: dict[str, Any] | CellType | type

    @property
    def key(self) -> tuple[int, str]:
        """What identifies the variable."""
        return id(self.home), "" if isinstance(self.home, CellType) else self.name

    @property
    def value(self) -> Any:
        """Return the value; ``NOTHING`` if none is assigned."""
        if isinstance(self.home, CellType):
            try:
                return self.home.cell_contents
            except ValueError:
                return NOTHING
        names = vars(self.home) if isinstance(self.home, type) else self.home
        return names.get(self.name, NOTHING)

    def set(self, value: Any) -> None:
        """Assign another value, or none (``NOTHING``)."""
        if isinstance(self.home, CellType):
            if isinstance(value, Nothing):
                del self.home.cell_contents
            else:
                self.home.cell_contents = value
        elif isinstance(self.home, type):
            if isinstance(value, Nothing):
                delattr(self.home, self.name)
            else:
                setattr(self.home, self.name, value)
        elif isinstance(value, Nothing):
            del self.home[self.name]
        else:
            self.home[self.name] = value
