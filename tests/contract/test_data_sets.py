from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset, random_split

from lightning_onnx.contract.data_sets import data_sets


def test_what_is_inside_is_found() -> None:
    inner, other = TensorDataset(torch.zeros(4)), TensorDataset(torch.zeros(6))
    part, _ = random_split(ConcatDataset([Subset(inner, [0, 1]), other]), [3, 5])
    for loaders in (DataLoader(part), [DataLoader(part)], {"a": DataLoader(part)}, CombinedLoader([DataLoader(part)])):
        found = list(data_sets(loaders))
        assert inner in found
        assert other in found
    assert list(data_sets(None)) == []


def test_a_cycle_ends() -> None:
    class Cycle:
        pass

    cycle = Cycle()
    cycle.dataset = cycle  # type: ignore[attr-defined]
    assert cycle in list(data_sets(cycle))


def test_samples_are_not_visited() -> None:
    class Samples(list[object]):
        def __iter__(self) -> Iterator[object]:
            raise AssertionError("a sample is visited")

    class Whole:
        def __init__(self) -> None:
            self.dataset = Samples([([7], 1)])

    whole = Whole()
    loader = DataLoader(whole)  # type: ignore[arg-type]
    assert list(data_sets({"a": [loader]})) == [loader, whole]
