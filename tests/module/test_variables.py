"""Variables of a private copy: globals and cells."""

from __future__ import annotations

from types import CellType

import pytest
from torch import nn

from lightning_onnx.module.variables import Variable, give, own_variables


@pytest.mark.parametrize("home", [{"count": 1}, CellType(1)])
def test_a_variable_is_read_and_set(home: dict[str, int] | CellType) -> None:
    variable = Variable("count", home)
    assert variable.value == 1
    variable.set(2)
    assert Variable("count", home).value == 2


def test_variables_belong_to_one_copy() -> None:
    copied, other = nn.Identity(), nn.Identity()
    give(copied, [Variable("count", {"count": 1})])
    assert [variable.name for variable in own_variables(copied)] == ["count"]
    assert own_variables(other) == ()
