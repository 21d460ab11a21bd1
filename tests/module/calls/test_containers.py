"""Containers that check what is set, that are frozen, or that have slots: they are taken apart and rebuilt."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor

from lightning_onnx.module.calls.nested import flatten


def checked(value: object) -> object:
    if value is not None and not isinstance(value, Tensor):
        raise TypeError(f"must be a tensor, got {type(value).__name__}")
    return value


class Private:
    """A field that keeps its value under a private name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = "_" + name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return None if instance is None else getattr(instance, self.name)

    def __set__(self, instance: Any, value: object) -> None:
        setattr(instance, self.name, checked(value))


class Same(Private):
    """A field that keeps its value under its own name."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return None if instance is None else instance.__dict__[self.name]

    def __set__(self, instance: Any, value: object) -> None:
        instance.__dict__[self.name] = checked(value)


class Elsewhere(Same):
    """A field that keeps its value outside of the object."""

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return None if instance is None else KEPT.get((id(instance), self.name))

    def __set__(self, instance: Any, value: object) -> None:
        KEPT[id(instance), self.name] = checked(value)


KEPT: dict[tuple[int, str], object] = {}


@dataclasses.dataclass
class WithPrivate:
    image: Any = Private()
    label: Any = Private()


@dataclasses.dataclass
class WithSame:
    image: Any = Same()
    label: Any = Same()


@dataclasses.dataclass
class WithElsewhere:
    image: Any = Elsewhere()
    label: Any = Elsewhere()


@dataclasses.dataclass(frozen=True)
class Frozen:
    image: Any
    label: Any


@dataclasses.dataclass(frozen=True, slots=True)
class FrozenSlots:
    image: Any
    label: Any


class Slots:
    __slots__ = ("image", "label")

    def __init__(self, image: Any, label: Any) -> None:
        self.image, self.label = image, label


class Immutable:
    __slots__ = ("image", "label")

    def __init__(self, image: Any, label: Any) -> None:
        object.__setattr__(self, "image", image)
        object.__setattr__(self, "label", label)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("immutable")


class Guarded:
    def __init__(self, image: Any, label: Any) -> None:
        self.image, self.label = image, label

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, checked(value))


KINDS = (WithPrivate, WithSame, WithElsewhere, Frozen, FrozenSlots, Slots, Immutable, Guarded)


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_taken_apart_and_rebuilt(kind: Any) -> None:
    old, new = (torch.zeros(2), torch.zeros(3)), (torch.ones(2), torch.ones(3))
    value = kind(*old)
    structure, tensors = flatten({"batch": value})
    assert structure.paths == (("batch", "image"), ("batch", "label"))
    assert [t is o for t, o in zip(tensors, old, strict=True)] == [True, True]
    filled = structure.fill(new)["batch"]
    assert type(filled) is kind
    assert (filled.image is new[0], filled.label is new[1]) == (True, True)
    assert (value.image is old[0], value.label is old[1]) == (True, True)


class CheckedDict(dict[str, Any]):
    def __setitem__(self, key: str, value: object) -> None:
        super().__setitem__(key, checked(value))


class CheckedList(list[Any]):
    def __init__(self, items: Any) -> None:
        super().__init__(checked(item) for item in items)

    @property
    def first(self) -> Any:
        return self[0]


class CheckedTuple(tuple[Any, ...]):
    def __new__(cls, items: Any) -> CheckedTuple:
        found = list(items)
        if not all(isinstance(item, Tensor) for item in found):
            raise ValueError("only tensors")
        return super().__new__(cls, found)


def test_mappings_and_sequences_that_take_only_tensors() -> None:
    x, y = torch.zeros(2), torch.ones(3)
    mapping = CheckedDict()
    mapping["image"] = x
    structure, tensors = flatten([mapping, CheckedList([x]), CheckedTuple([x, x])])
    assert structure.paths == (("0", "image"), ("1", "0"), ("2", "0"), ("2", "1"))
    assert len(tensors) == 4
    filled = structure.fill([y, y, x, y])
    assert [type(item) for item in filled] == [CheckedDict, CheckedList, CheckedTuple]
    assert filled[0]["image"] is y
    assert filled[2][1] is y
    assert mapping["image"] is x


def test_a_list_that_refuses_stand_ins_for_tensors_still_becomes_a_list_of_its_class() -> None:
    filled = flatten(CheckedList([torch.zeros(1), torch.ones(1)]))[0].fill([torch.ones(2), torch.ones(3)])
    assert type(filled) is CheckedList
    assert filled.first.shape == (2,)
