"""What all options have in common: messages that name the value that was given, and one that was probably meant."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_onnx.errors import ConfigurationError, did_you_mean


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
