"""State that calls leave on a module which begins without any, such as the hidden state of a recurrent layer."""

from __future__ import annotations

from collections.abc import Iterable
from types import FunctionType

from torch import nn

from lightning_onnx.module.bytecode import assigned_none
from lightning_onnx.module.reach import is_project_class
from lightning_onnx.module.saved import Place


def begins_as_none(module: nn.Module, places: Iterable[Place]) -> tuple[Place, ...]:
    """Return the places of attributes that ``__init__`` sets to None: a module begins without their state.

    Args:
        module: The module.
        places: Attributes by which a call changes the results of later ones.
    """
    parts = dict(module.named_modules())
    return tuple(place for place in places if place[0] in parts and place[1] in _none_in_init(type(parts[place[0]])))


def reset(module: nn.Module, places: Iterable[Place]) -> None:
    """Set attributes of a private copy to None, as they were before the first call.

    Args:
        module: The private copy.
        places: The attributes.
    """
    parts = dict(module.named_modules())
    for name, attribute in places:
        if name in parts and attribute in parts[name].__dict__:
            parts[name].__dict__[attribute] = None


def _none_in_init(kind: type) -> set[str]:
    inits = (vars(k).get("__init__") for k in kind.__mro__ if is_project_class(k))
    return {name for init in inits if isinstance(init, FunctionType) for name in assigned_none(init.__code__)}
