"""What all options have in common: messages that name the value that was given, and one that was probably meant."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Sequence

from typing_extensions import ParamSpec

from lightning_onnx.errors import ConfigurationError, did_you_mean

P = ParamSpec("P")

_MEANT = {"opset": "opset_version", "dynamic_shapes": "dynamic_axes", "output_dir": "dirpath", "directory": "dirpath"}
"""Options of other exporters, and what they are called here."""


def choose(option: str, value: object, choices: Sequence[object]) -> None:
    """Raise unless ``value`` is one of ``choices``.

    Args:
        option: Name of the option, for the message.
        value: The given value.
        choices: The valid values; ``True`` and ``1`` are different.

    Raises:
        ConfigurationError: If ``value`` is not one of them.
    """
    if not any(value is c or (value == c and type(value) is type(c)) for c in choices):
        nearest = did_you_mean(value, [c for c in choices if isinstance(c, str)])
        raise ConfigurationError(
            f"{option}={value!r} is invalid{nearest} Choose one of {', '.join(map(repr, choices))}."
        )


def instances_of(option: str, values: object, kind: type, example: str) -> None:
    """Raise unless ``values`` is a list of objects of a protocol.

    Args:
        option: Name of the option, for the message.
        values: The given value.
        kind: The protocol.
        example: Code for one such object.

    Raises:
        ConfigurationError: If it is one object, holds a class instead of an object, or anything else.
    """
    if isinstance(values, (list, tuple)):
        for value in values:
            if isinstance(value, type):
                raise ConfigurationError(
                    f"{option} has the class {value.__name__} instead of an object. Call it: {value.__name__}()."
                )
            if not isinstance(value, kind):
                raise ConfigurationError(f"{option} has {value!r}, which does not fit. Give one such as {example}.")
        return
    if isinstance(values, kind):
        raise ConfigurationError(f"{option}={values!r} is not a list. Put it into one: {option}=[...].")
    raise ConfigurationError(f"{option}={values!r} is not a list of {option}. Give one such as [{example}].")


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
        raise ConfigurationError(f"{what} has no option {name!r}{nearest} Choose from {', '.join(sorted(known))}.")


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
