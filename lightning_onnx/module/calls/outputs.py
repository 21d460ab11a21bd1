"""What a call of the module returns, as flat tensors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence

from torch import Tensor

from lightning_onnx.module.calls.nested import TensorPath, flatten_result


@dataclasses.dataclass(frozen=True)
class Outputs:
    """The tensors of a result.

    Attributes:
        tensors: The tensors, in the order of the result.
        paths: The path of each tensor in the result.
        left_out: Other values of the result, which a graph cannot return: name and type, such as ``"count (int)"``.
    """

    tensors: tuple[Tensor, ...]
    paths: tuple[TensorPath, ...]
    left_out: tuple[str, ...] = ()


RunModule = Callable[[Sequence[Tensor]], Outputs | None]
"""Runs the module on flat tensors; returns None if it does not take them."""


def outputs_of(result: object) -> Outputs:
    """Return the part of a method's result that a graph can return, and the names of the rest.

    Example:
        >>> import torch
        >>> outputs_of({"scores": torch.zeros(2), "count": 2, "names": ["a", "b"]}).left_out
        ('count (int)', 'names (list of str)')
    """
    structure, tensors = flatten_result(result)
    return Outputs(tuple(tensors), structure.paths, name_others(structure.others, "output"))


def name_others(others: Iterable[tuple[TensorPath, object]], default: str) -> tuple[str, ...]:
    """Name values that are not tensors, each with its type; the items of a list as one, without those that are None.

    Args:
        others: The paths and the values.
        default: The prefix of indices: ``"output"`` or ``"input"``.
    """
    found: dict[TensorPath, list[str]] = {}
    lists: set[TensorPath] = set()
    for path, value in others:
        if value is None:
            continue
        is_item = len(path) > 1 and path[-1].isdigit()
        place = path[:-1] if is_item else path
        if is_item:
            lists.add(place)
        kinds = found.setdefault(place, [])
        if type(value).__name__ not in kinds:
            kinds.append(type(value).__name__)
    named = []
    for place, kinds in found.items():
        name = ".".join(place) if place and not place[0].isdigit() else "_".join((default, *place))
        named.append(f"{name} ({'list of ' if place in lists else ''}{' and '.join(kinds)})")
    return tuple(named)
