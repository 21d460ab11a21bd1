"""Random numbers of a fixture or a test do not depend on what ran before."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from tests.seeding import seed

SCOPES: tuple[Any, ...] = ("session", "package", "module", "class", "function")


def draw() -> tuple[float, ...]:
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def drawing(scope: Any) -> Any:
    @pytest.fixture(scope=scope, name=f"drawn_by_{scope}")
    def fixture(disturbed: None) -> tuple[float, ...]:
        return draw()

    return fixture


@pytest.fixture(scope="session")
def disturbed() -> None:
    """Simulates an earlier test with other seeds."""
    random.seed(1)
    np.random.seed(2)
    torch.manual_seed(3)


drawn_by_session, drawn_by_package, drawn_by_module, drawn_by_class, drawn_by_function = map(drawing, SCOPES)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_fixture_draws_from_its_own_seed(scope: str, request: pytest.FixtureRequest) -> None:
    drawn = request.getfixturevalue(f"drawn_by_{scope}")
    seed(f"drawn_by_{scope}", request.config.getoption("seed"))
    assert drawn == draw()


@pytest.mark.parametrize("one", ["first", "second"])
def test_a_test_draws_from_its_own_seed(one: str, drawn_by_function: Any, request: pytest.FixtureRequest) -> None:
    drawn = draw()
    seed(f"test_a_test_draws_from_its_own_seed[{one}]", request.config.getoption("seed"))
    assert drawn == draw() != drawn_by_function
