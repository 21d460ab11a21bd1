"""A failed copy leaves nothing behind, and generators of random numbers are copied."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lightning_onnx.module.weights.copier import Copier
from lightning_onnx.module.weights.copying import private_copy


def test_a_failed_copy_leaves_no_half_filled_container() -> None:
    class Fails:
        def __deepcopy__(self, memo: Any) -> Any:
            raise RuntimeError("not this one")

    module = nn.Identity()
    shared = {"a": [1, 2, 3]}
    module.first = [shared, Fails()]
    module.second = shared
    copied: Any = private_copy(module)
    assert copied.second == {"a": [1, 2, 3]}
    assert copied.first[0] is copied.second
    assert copied.second["a"] is not shared["a"]


def test_random_numbers_of_the_copy_do_not_change_the_generator() -> None:
    module = nn.Identity()
    module.rng = torch.Generator().manual_seed(5)
    before = module.rng.get_state()
    copied: Any = private_copy(module)
    assert torch.equal(copied.rng.get_state(), before)
    torch.rand(3, generator=copied.rng)
    assert torch.equal(module.rng.get_state(), before)


def test_one_object_is_copied_once() -> None:
    copier, value = Copier(), [1, 2]
    assert copier.copy({"a": value})["a"] is copier.copy((value, 3))[0]
    assert copier.copy(value) is not value
