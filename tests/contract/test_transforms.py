from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch.utils.data import DataLoader, Subset
from torchvision.transforms import v2

from lightning_onnx.contract.transforms import find_steps

v1 = torchvision.transforms


def test_the_transforms_of_the_data_set_are_found() -> None:
    data = torchvision.datasets.FakeData(8, (3, 9, 9), 4, transform=v1.ToTensor())
    (step,) = find_steps(DataLoader(Subset(data, [0, 1])))
    assert (step.transform, step.in_graph) == ("ToTensor()", False)
    assert find_steps(DataLoader(Subset([1, 2], [0]))) == ()
    assert find_steps(None) == ()


def test_transforms_with_a_name_of_their_own_are_found() -> None:
    class Images(torch.utils.data.Dataset[Any]):
        def __init__(self, **attributes: Any) -> None:
            self.__dict__.update(attributes)

    prepare, other = v2.Compose([v2.Resize(8)]), v2.Resize(9)
    assert [s.sentence for s in find_steps(DataLoader(Images(tf=prepare)))] == [
        "resize the shorter side to 8 (bilinear, antialiased)"
    ]
    assert find_steps(DataLoader(Images(target_transform=prepare))) == ()
    assert find_steps(DataLoader(Images(augment=other, tf=prepare))) == ()  # nothing says which one is meant
    formatted = Images(format={"type": "custom", "format_kwargs": {"transform": torch.relu}})  # of `datasets`
    assert [s.sentence for s in find_steps(DataLoader(formatted))] == ["apply relu"]


def test_properties_that_raise_are_passed_over() -> None:
    class Raises(torch.utils.data.Dataset[Any]):
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(f"{name}: set up first")

    loader = DataLoader(Raises())
    assert find_steps([loader, DataLoader(torchvision.datasets.FakeData(8, transform=v1.ToTensor()))]) != ()
