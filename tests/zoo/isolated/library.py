"""What a file in ``tests/zoo/libraries`` states, and where these files are found."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil

from tests.zoo import libraries
from tests.zoo.case import Case


@dataclasses.dataclass(frozen=True)
class Library:
    """A library with the cases that train its modules.

    Attributes:
        name: Its name on PyPI.
        cases: Its cases; their names begin with that of the library, ``library/what``.
        requires: Arguments of pip, such as ``"monai>=1.5"``; by default the library itself.
        without_dependencies: Requirements that are installed with ``--no-deps``, because they ask for versions that
            exclude those of this project; what they need is in ``requires``.
        is_quick: Whether it installs in under a minute, so that the slow tests run its cases.
    """

    name: str
    cases: tuple[Case, ...]
    requires: tuple[str, ...] | None = None
    without_dependencies: tuple[str, ...] = ()
    is_quick: bool = False

    @property
    def requirements(self) -> tuple[str, ...]:
        """What pip installs with dependencies."""
        return (self.name,) if self.requires is None else self.requires


def all_libraries() -> list[Library]:
    """Return those of all files, in the order of the files' names."""
    names = sorted(module.name for module in pkgutil.iter_modules(libraries.__path__))
    return [importlib.import_module(f"{libraries.__name__}.{name}").LIBRARY for name in names]
