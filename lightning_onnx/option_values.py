"""Values of the options of checks and variants: each is checked when the object is made, not when it is used."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence

from lightning_onnx.errors import ConfigurationError, did_you_mean


def check_number(owner: object, option: str, *, least: int = 0, is_whole: bool = False) -> None:
    """Raise unless an option is a number, or None where that is its default.

    Args:
        owner: The object that has the option as an attribute.
        option: Name of the option.
        least: The smallest valid number.
        is_whole: Whether it is an integer.

    Raises:
        ConfigurationError: If it is anything else, NaN included.
    """
    value: object = getattr(owner, option)
    kind = numbers.Integral if is_whole else numbers.Real
    if not _is_number(value, kind, least) and not (value is None and _default(owner, option) is None):
        raise ConfigurationError(f"{_shown(owner, option)} is invalid. Give a number of {least} or more.")


def check_numbers(owner: object, option: str, example: str) -> None:
    """Raise unless an option is a dict of names to numbers of 0 or more, or None.

    Args:
        owner: The object that has the option as an attribute.
        option: Name of the option.
        example: One such name.

    Raises:
        ConfigurationError: If it is anything else.
    """
    value: object = getattr(owner, option)
    if value is None or (
        isinstance(value, Mapping)
        and all(isinstance(k, str) and _is_number(v, numbers.Real, 0) for k, v in value.items())
    ):
        return
    raise ConfigurationError(
        f"{_shown(owner, option)} is invalid. Give numbers of 0 or more by name, such as {{{example!r}: 0.001}}."
    )


def check_choice(owner: object, option: str, choices: Sequence[object]) -> None:
    """Raise unless an option is one of some values.

    Args:
        owner: The object that has the option as an attribute.
        option: Name of the option.
        choices: The valid values; ``True`` and ``1`` are different.

    Raises:
        ConfigurationError: If it is anything else.
    """
    value: object = getattr(owner, option)
    if not any(value is c or (type(value) is type(c) and value == c) for c in choices):
        nearest = did_you_mean(value, [c for c in choices if isinstance(c, str)])
        raise ConfigurationError(
            f"{_shown(owner, option)} is invalid{nearest} Choose one of {', '.join(map(repr, choices))}."
        )


def check_texts(owner: object, option: str, example: str) -> None:
    """Raise unless an option is a list or tuple of strings.

    Args:
        owner: The object that has the option as an attribute.
        option: Name of the option.
        example: One such string.

    Raises:
        ConfigurationError: If it is anything else, one string included.
    """
    value: object = getattr(owner, option)
    if isinstance(value, str):
        raise ConfigurationError(f"{_shown(owner, option)} is one string. Give a tuple such as ({example!r},).")
    if not isinstance(value, (list, tuple)) or not all(isinstance(each, str) for each in value):
        raise ConfigurationError(
            f"{_shown(owner, option)} is not a list of strings. Give a tuple such as ({example!r},)."
        )


def _is_number(value: object, kind: type, least: int) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool) and bool(value >= least)  # type: ignore[operator]


def _default(owner: object, option: str) -> object:
    """Return the default of a dataclass's option, which is an attribute of the class."""
    return getattr(type(owner), option, None)


def _shown(owner: object, option: str) -> str:
    return f"{type(owner).__name__}({option}={getattr(owner, option)!r})"
