"""Arguments of a ``*args`` parameter are named after the batch's entries."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.module.calls.entries import Entries
from lightning_onnx.module.calls.observer import ForwardObserver


class Wrapped(nn.Module):
    """As libraries wrap a model: any arguments are passed on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.layer(args[0])


@dataclasses.dataclass
class Batch:
    image: Tensor
    mask: Tensor


def paths(batch: object, *args: Tensor, module: nn.Module | None = None) -> tuple[Any, ...]:
    observer = ForwardObserver(module or Wrapped())
    observer.attach()
    observer.see_batch(batch, 2)
    observer.module(*args)
    (observation,) = observer.observations()
    return observation.samples[0].paths


@pytest.mark.parametrize("kind", ["dict", "dataclass"])
def test_an_entry_of_the_batch_gives_its_name(kind: str) -> None:
    x, y = torch.zeros(2, 3), torch.ones(2, 3)
    batch = {"image": x, "mask": y} if kind == "dict" else Batch(x, y)
    assert paths(batch, x) == (("image",),)
    assert paths(batch, y, x) == (("mask",), ("image",))


def test_what_is_no_entry_of_the_batch_keeps_the_name_of_torch_onnx_export() -> None:
    x = torch.zeros(2, 3)
    assert paths({"image": x}, x + 1) == (("args", "0"),)
    assert paths([x], x) == (("args", "0"),)
    assert paths({"image": x}, x + 1, x) == (("args", "0"), ("image",))


def test_a_parameter_with_a_name_keeps_it() -> None:
    x = torch.zeros(2, 3)
    assert paths({"image": x}, x, module=nn.Linear(3, 2)) == (("input",),)


def test_the_batch_is_not_kept() -> None:
    batch = {"image": torch.zeros(2, 3)}
    seen = weakref.ref(batch["image"])
    entries = Entries(batch)
    del batch
    gc.collect()
    assert seen() is None
    assert entries is not None
