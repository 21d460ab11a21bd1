"""Names of options: an unknown one gets a message that names the one that was probably meant."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from typing import TypeVar

from typing_extensions import ParamSpec

from lightning_onnx.errors import ConfigurationError, did_you_mean

P = ParamSpec("P")
T = TypeVar("T")

_MEANT = {
    "opset": "opset_version",
    "dynamic_shapes": "dynamic_axes",
    "output_dir": "dirpath",
    "directory": "dirpath",
    "dynamo": "engine",
    "simplify": "variants",
    "quantize": "variants",
    "precision": "variants",
    "class_names": "labels",
    "input_sample": "sample",
    "example_inputs": "sample",
}
"""Options of other exporters, and what they are called here."""


def check_known(what: str, given: Collection[str], known: Collection[str]) -> None:
    """Raise if there is an option of an unknown name.

    Args:
        what: What takes the options.
        given: Names of the given options.
        known: Names of all options.

    Raises:
        ConfigurationError: If one of them is unknown.
    """
    for name in sorted(set(given) - set(known)):
        meant = _MEANT[name] if _MEANT.get(name) in known else None
        nearest = f": did you mean {meant!r}?" if meant else did_you_mean(name, known)
        choices = "" if nearest.endswith("?") else f" Choose from {', '.join(sorted(known))}."
        raise ConfigurationError(f"{what} has no option {name!r}{nearest}{choices}")


def with_known_options(method: Callable[P, None]) -> Callable[P, None]:
    """Make a constructor say which option was probably meant if it has none of a name; its signature stays.

    Args:
        method: The ``__init__`` of a class.
    """
    known = [name for name in inspect.signature(method).parameters if name != "self"]

    @functools.wraps(method)
    def checked(*arguments: P.args, **options: P.kwargs) -> None:
        check_known(method.__qualname__.partition(".")[0], options, known)
        method(*arguments, **options)

    return checked


def known_options(cls: type[T]) -> type[T]:
    """Do the same for the constructor of a dataclass.

    Args:
        cls: The class.
    """
    setattr(cls, "__init__", with_known_options(cls.__init__))  # noqa: B010 - mypy refuses to assign to a method
    return cls
