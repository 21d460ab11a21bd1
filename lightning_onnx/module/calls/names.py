"""Names of inputs and outputs: derived from the paths of tensors in arguments and results, or given by the user."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.calls.nested import TensorPath


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
        raise ConfigurationError(
            f"{kind}_names has {len(requested)} names {list(requested)}, but the graph has {len(derived)} {kind}s "
            f"{list(derived)}. Give one name for each {kind}, in this order."
        )
    return tuple(requested)


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
