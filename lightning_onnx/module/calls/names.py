"""Names of inputs and outputs: derived from the paths of tensors in arguments and results, or given by the user."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from lightning_onnx.errors import ConfigurationError, did_you_mean
from lightning_onnx.module.calls.nested import TensorPath

_T = TypeVar("_T")

InputNames = Sequence[str] | Mapping[str, str]
"""Given names of inputs: in order, or by the derived names, with those of some inputs only."""


def name_paths(paths: Sequence[TensorPath], default: str, taken: Sequence[str] = ()) -> tuple[str, ...]:
    """Name tensors by their paths: keys joined by ``_``, indices after ``default``; all names are different.

    Example:
        >>> name_paths([("logits",), ("hidden", "0"), ("hidden", "1")], "output")
        ('logits', 'hidden_0', 'hidden_1')
        >>> name_paths([()], "output"), name_paths([("0",), ("1",)], "output")
        (('output',), ('output_0', 'output_1'))
    """
    names: list[str] = []
    for path in paths:
        parts = path if path and not path[0].isdigit() else (default, *path)
        name = re.sub(r"[^0-9A-Za-z_.]", "_", "_".join(parts))
        unique = name if name not in taken else f"{name}_{default}"
        for number in itertools.count(1):
            if unique not in names and unique not in taken:
                break
            unique = f"{name}_{number}"
        names.append(unique)
    return tuple(names)


def chosen_names(kind: str, requested: Sequence[str] | None, derived: tuple[str, ...]) -> tuple[str, ...]:
    """Return the requested names if there are any, or else the derived ones.

    Args:
        kind: ``"input"`` or ``"output"``.
        requested: The names given by the user, or None.
        derived: The derived names.

    Raises:
        ConfigurationError: If the number of names is not the number of tensors.
    """
    if requested is None:
        return derived
    if len(requested) != len(derived):
        raise wrong_number(kind, requested, derived)
    return tuple(requested)


def wrong_number(
    kind: str, requested: Sequence[str], derived: Sequence[str], left_out: Sequence[str] = ()
) -> ConfigurationError:
    """Return the error for a number of names that is not the number of tensors.

    Args:
        kind: ``"input"`` or ``"output"``.
        requested: The names given by the user.
        derived: The derived names.
        left_out: Names of what the graph does not use.
    """
    left = f" (left out, because it does not use them: {list(left_out)})" if left_out else ""
    inputs = " A part of an argument that is not to be an input can be left out by exclude_inputs."
    return ConfigurationError(
        f"{kind}_names has {len(requested)} names {list(requested)}, but the graph has {len(derived)} {kind}s "
        f"{list(derived)}{left}. Give one name for each {kind}, in this order.{inputs if kind == 'input' else ''}"
    )


def chosen_input_names(
    requested: InputNames | None, derived: tuple[str, ...], paths: Sequence[TensorPath]
) -> tuple[str, ...]:
    """Return the requested names of inputs, or else the derived ones.

    The entries of a dict have no order that users see, so names that are all keys of the batch go to their entries.

    Args:
        requested: The names given by the user, or None.
        derived: The derived names.
        paths: The path of each input in the arguments.

    Raises:
        ConfigurationError: If the number of names is not the number of inputs, if there is no input of a name in a
            mapping, or if the key of one entry is to be the name of another.

    Example:
        >>> paths = [("batch", "image"), ("batch", "mask")]
        >>> chosen_input_names(["mask", "image"], ("batch_image", "batch_mask"), paths)
        ('image', 'mask')
    """
    if isinstance(requested, Mapping):
        return _renamed(requested, derived, paths)
    names = chosen_names("input", requested, derived)
    keys = batch_keys(paths)
    if requested is None or names == keys:
        return names
    if set(names) == set(keys):
        return tuple(key or "" for key in keys)
    for name, key, path in zip(names, keys, paths, strict=True):
        if name in keys and name != key:
            raise ConfigurationError(
                f"input_names={list(names)} gives {'.'.join(path)!r} the name {name!r}, which is the key of another "
                f"input. Give the names in the order of the inputs {list(derived)}."
            )
    return names


def _renamed(requested: Mapping[str, str], derived: tuple[str, ...], paths: Sequence[TensorPath]) -> tuple[str, ...]:
    """Return the names of inputs, some of them changed by a mapping of derived names, or of keys of the batch."""
    places = {key: i for i, key in enumerate(batch_keys(paths)) if key is not None}
    places |= {".".join(path): i for i, path in enumerate(paths)} | {name: i for i, name in enumerate(derived)}
    names = list(derived)
    for old, new in requested.items():
        if old not in places:
            raise ConfigurationError(
                f"input_names has {old!r}, but there is no such input{did_you_mean(old, places)} "
                f"The inputs are {', '.join(derived)}."
            )
        names[places[old]] = new
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(
            f"input_names={dict(requested)} gives two inputs the name {twice[0]!r}: they would be {', '.join(names)}. "
            "Give each its own."
        )
    return tuple(names)


def batch_keys(paths: Sequence[TensorPath]) -> tuple[str | None, ...]:
    """Return the key of each input inside an argument; None for the others, and where two have the same key.

    Args:
        paths: The path of each input in the arguments.
    """
    found = [path[-1] if len(path) > 1 and not path[-1].isdecimal() else None for path in paths]
    return tuple(key if found.count(key) == 1 else None for key in found)


def with_input_names(
    dynamic_axes: Mapping[str, _T], names: Sequence[str], paths: Sequence[TensorPath]
) -> dict[str, _T]:
    """Return ``dynamic_axes`` by the names of inputs where they are given by the keys of a batch.

    Args:
        dynamic_axes: The dynamic axes by name or key.
        names: Names of the inputs.
        paths: The path of each input in the arguments.

    Example:
        >>> with_input_names({"mask": [0]}, ["batch_mask"], [("batch", "mask")])
        {'batch_mask': [0]}
    """
    by_key = {key: name for key, name in zip(batch_keys(paths), names, strict=True) if key is not None}
    return {name if name in names else by_key.get(name, name): axes for name, axes in dynamic_axes.items()}


def check_axes_names(dynamic_axes: object, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raise if ``dynamic_axes`` names a tensor that the graph does not have.

    Raises:
        ConfigurationError: If a name is neither an input nor an output.
    """
    if not isinstance(dynamic_axes, Mapping):
        return
    unknown = [name for name in dynamic_axes if name not in (*inputs, *outputs)]
    if unknown:
        raise ConfigurationError(
            f"dynamic_axes names {unknown}, but the graph has the inputs {list(inputs)} and the outputs "
            f"{list(outputs)}. Use these names, or set input_names."
        )
