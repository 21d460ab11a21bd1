from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from lightning_onnx.module.random_state import random_states, random_states_kept


def draw() -> None:
    random.random(), np.random.randn(), torch.rand(1)


@pytest.mark.parametrize("raises", [False, True])
def test_states_are_put_back_also_after_an_error(raises: bool) -> None:
    np.random.randn()  # numpy keeps every second one
    before = random_states()
    with pytest.raises(KeyboardInterrupt) if raises else random_states_kept(), random_states_kept():
        draw()
        assert random_states() != before
        if raises:
            raise KeyboardInterrupt
    assert random_states() == before


@pytest.mark.parametrize("one", [random.random, np.random.randn, lambda: torch.rand(1)])
def test_each_draw_changes_the_states(one: object) -> None:
    for _ in range(2):
        before = random_states()
        one()  # type: ignore[operator]
        assert random_states() != before
