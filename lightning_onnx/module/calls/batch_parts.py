"""Inputs of a method that takes the whole batch are named after the batch's parts: ``tokens``, not ``batch_tokens``.

Parts of a dict, a named tuple or a dataclass have names; those of a tuple get them from the method's source.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence

from torch import nn

from lightning_onnx.module.calls.nested import TensorPath
from lightning_onnx.module.calls.part_names import part_names, unpacks
from lightning_onnx.module.calls.sample import method_signature

STEPS = (
    "training_step", "validation_step", "test_step", "predict_step",
    "on_before_batch_transfer", "on_after_batch_transfer",
)  # fmt: skip
"""Methods that Lightning calls with the batch, followed by indices."""


def named_by_parts(module: nn.Module, method: str, paths: Sequence[TensorPath]) -> tuple[TensorPath, ...]:
    """Return the paths that name tensors: inside a batch, those of its parts.

    The batch is the first argument of Lightning's steps, and of methods other than ``forward`` the parameter ``batch``.

    Args:
        module: The module.
        method: Name of the method.
        paths: The path of each tensor in the method's arguments.

    Example:
        >>> class Predicts(nn.Module):
        ...     def predict_step(self, batch): ...
        >>> named_by_parts(Predicts(), "predict_step", [("batch", "tokens"), ("batch", "mask")])
        (('tokens',), ('mask',))
    """
    place = _place_of_batch(module, method)
    if place is None:
        return tuple(paths)
    parameter = place[0] if len(place) == 1 else "batch"
    arguments = {place[0]: place[:1]}
    if _is_lightnings(module, method):  # it calls forward with the batch
        method = "forward"
        parameter = next(iter(method_signature(module, method).parameters), parameter)
        arguments = {parameter: place}
    names = part_names(module, method, arguments)
    return tuple(_named(path, place, parameter, names) if path[: len(place)] == place else path for path in paths)


def takes_batch(module: nn.Module, method: str) -> bool:
    """Tell whether a method's only required argument is a whole batch: it is called so, or the source unpacks it.

    Args:
        module: The module.
        method: Name of the method.
    """
    parameters = method_signature(module, method).parameters.values()
    required = [p for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    if len(required) != 1:
        return False
    (name,) = (parameter.name for parameter in required)
    return name == "batch" or unpacks(getattr(module, method), name)


def _place_of_batch(module: nn.Module, method: str) -> TensorPath | None:
    """Return the path of the batch in the method's arguments; None if no argument is the batch."""
    parameters = list(method_signature(module, method).parameters.values())
    if method not in STEPS:
        return ("batch",) if method != "forward" and any(p.name == "batch" for p in parameters) else None
    if not parameters or parameters[0].kind in (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.KEYWORD_ONLY):
        return None
    first = parameters[0]
    return (first.name, "0") if first.kind is first.VAR_POSITIONAL else (first.name,)


def _is_lightnings(module: nn.Module, method: str) -> bool:
    """Tell whether it is the ``predict_step`` that every LightningModule has."""
    function = inspect.unwrap(getattr(module, method))
    return method == "predict_step" and getattr(function, "__qualname__", "") == "LightningModule.predict_step"


def _named(path: TensorPath, place: TensorPath, parameter: str, names: Mapping[TensorPath, str]) -> TensorPath:
    """Return the path in the batch, from the innermost index that has a name on."""
    for end in range(len(path), len(place), -1):
        if path[end - 1].isdecimal() and path[:end] in names:
            keys = (key for key in path[len(place) : end - 1] if not key.isdecimal())
            return (*keys, names[path[:end]], *path[end:])
    inside = path[len(place) :]
    return inside if inside and not inside[0].isdecimal() else (parameter, *inside)
