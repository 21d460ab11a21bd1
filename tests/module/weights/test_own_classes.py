"""A subclass with replaced methods keeps the order in which methods call each other."""

from __future__ import annotations

from types import FunctionType
from typing import Any

from lightning_onnx.module.weights.own_classes import OwnClasses


class Base:
    def path(self) -> str:
        return "base"

    @staticmethod
    def fixed() -> str:
        return "fixed"

    @property
    def named(self) -> str:
        return "named"


class Middle(Base):
    def path(self) -> str:
        return "middle " + super().path()


class Net(Middle):
    def path(self) -> str:
        return "net " + super().path()


def _but_for(name: str) -> Any:
    def other(function: Any) -> Any:
        if function.__qualname__ != name:
            return function
        code = function.__code__
        code = code.replace(
            co_consts=tuple(c.upper() if c == "base" or c == "fixed" or c == "named" else c for c in code.co_consts)
        )
        return FunctionType(code, function.__globals__, function.__name__, None, function.__closure__)

    return other


def test_super_finds_the_replaced_method_of_a_base() -> None:
    net = Net()
    OwnClasses(_but_for("Base.path")).give(net)
    assert net.path() == "net middle BASE"
    assert Net().path() == "net middle base"
    assert isinstance(net, Net)
    assert type(net).__qualname__ == "Net"


def test_static_methods_and_properties_are_replaced() -> None:
    net = Net()
    OwnClasses(_but_for("Base.fixed")).give(net)
    assert net.fixed() == "FIXED"
    OwnClasses(_but_for("Base.named")).give(net)
    assert net.named == "NAMED"


def test_a_class_without_replaced_methods_stays() -> None:
    assert OwnClasses(lambda function: function).of(Net) is Net


def test_an_object_whose_class_cannot_be_changed_stays() -> None:
    kinds = OwnClasses(lambda function: function)
    kinds.give(3)
