"""How the weights of two models differ by module, and whether their constants do."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

_NUMBERED = re.compile(r".*_\d+")
"""How exporters name a value that has no name in the module: ``val_21``, ``view_3``. The numbers shift easily."""


@dataclasses.dataclass(frozen=True)
class WeightsDiff:
    """What differs between the initializers of two models.

    Attributes:
        modules: By module, the largest relative change of a weight: the norm of the difference, divided by the first
            one's norm. Infinite for a weight that has another shape, or that only one of the models has.
        compared: Number of weights in both.
        constants: Number of constants in both, which are compared by value, because their names have no meaning.
        constants_changed: Number of constants that only one of the two has.
    """

    modules: Mapping[str, float]
    compared: int
    constants: int
    constants_changed: int


def compare_weights(first: onnx.ModelProto, second: onnx.ModelProto) -> WeightsDiff:
    """Compare the weights of two models by name, and their constants by value."""
    before, now = dict(_weights(first)), dict(_weights(second))
    constants, others = Counter(_constants(first)), Counter(_constants(second))
    changed = max((constants - others).total(), (others - constants).total())
    return WeightsDiff(_changes(before, now), len(before.keys() & now.keys()), (constants & others).total(), changed)


def is_weight(name: str) -> bool:
    """Tell whether an initializer is a parameter or buffer of the module, by its name.

    Example:
        >>> [is_weight(name) for name in ("body.0.weight", "scale", "val_21", "onnx::Add_3", "/Constant_output_0")]
        [True, True, False, False, False]
    """
    if "::" in name or name.startswith("/"):
        return False
    return "." in name or not _NUMBERED.fullmatch(name)


def _weights(model: onnx.ModelProto) -> Iterator[tuple[str, TensorProto]]:
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.STRING and is_weight(tensor.name):
            yield tensor.name, tensor


def _constants(model: onnx.ModelProto) -> Iterator[tuple[int, tuple[int, ...], str]]:
    """Yield dtype, shape and digest of each constant."""
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.STRING and not is_weight(tensor.name):
            digest = hashlib.sha256(numpy_helper.to_array(tensor).tobytes()).hexdigest()
            yield tensor.data_type, tuple(tensor.dims), digest


def _changes(first: Mapping[str, TensorProto], second: Mapping[str, TensorProto]) -> dict[str, float]:
    """Return the largest change of each module that has one, largest first."""
    found: dict[str, float] = {}
    for name in dict.fromkeys([*first, *second]):
        change = _change(first.get(name), second.get(name))
        if change:
            module = name.rpartition(".")[0] or name
            found[module] = max(change, found.get(module, 0.0))
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _change(first: TensorProto | None, second: TensorProto | None) -> float:
    if first is None or second is None or first.dims != second.dims:
        return float("inf")
    if first.data_type == second.data_type and first.raw_data and first.raw_data == second.raw_data:
        return 0.0
    before, now = (numpy_helper.to_array(tensor).astype(np.float64) for tensor in (first, second))
    difference, norm = float(np.linalg.norm(now - before)), float(np.linalg.norm(before))
    return difference / norm if norm else float("inf") if difference else 0.0
