"""The values that a method reads from its tensors, and its decisions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from lightning_onnx.module.decisions.fixed import FixedTensors
from lightning_onnx.module.decisions.record import Decisions, record
from tests.tracing.making import made

X = torch.tensor([1.0, 2.0])


class Calls(nn.Module):
    """Calls a function."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        self.function(x)
        return x * 2


def decided(function: Callable[[Tensor], object], x: Tensor) -> Decisions:
    flat, request = made(Calls(function), x)
    return record(flat, request.tensors)


READERS: dict[str, Callable[[Tensor], object]] = {
    "bool() of a tensor": lambda x: bool(x.sum() > 0),
    ".item()": lambda x: x.sum().item(),
    "int() of a tensor": lambda x: int(x.sum()),
    "float() of a tensor": lambda x: float(x.sum()),
    "a tensor as an index": lambda x: range(x.argmax()),  # type: ignore[call-overload]
    ".tolist()": lambda x: x.tolist(),
    ".numpy()": lambda x: x.numpy(),
    "numpy() of a tensor": np.asarray,
    "DLPack of a tensor": np.from_dlpack,
    "a tensor in a string": lambda x: f"{x.sum():.2f}",
    "torch.equal": lambda x: torch.equal(x, x.abs()),
    "torch.allclose": lambda x: torch.allclose(x, x.abs()),
    "'in' with a tensor": lambda x: 3.0 in x,
}


@pytest.mark.parametrize("what", READERS)
def test_each_way_to_read_a_value_is_recorded_and_values_are_distinguished(what: str) -> None:
    first = decided(READERS[what], torch.tensor([1.0, 2.0]))
    (site,) = first.sites()
    assert site.what == what
    assert site.where.startswith("test_record.py:")
    assert decided(READERS[what], torch.tensor([1.0, 2.0])).reads == first.reads
    assert decided(READERS[what], torch.tensor([3.0, -9.0])).differing(first) == {site}


def test_branches_after_a_read_are_known() -> None:
    first = decided(lambda x: [x.sum().item(), 1 if x.sum().item() > 0 else 2], X)
    last = decided(lambda x: [1 if x.sum().item() > 0 else 2, x.max().item()], X)
    assert first.followed == set(first.sites())
    assert {site.what for site in last.followed} == {".item()"}
    assert decided(lambda x: x.sum().item(), X).followed == frozenset()


def test_internal_checks_of_torch_are_not_decisions() -> None:
    def normal(x: Tensor) -> object:
        return torch.distributions.Normal(x, x.exp())

    assert decided(normal, torch.ones(2)).sites() == ()


def test_what_this_package_reads_around_a_call_is_not_a_decision() -> None:
    assert not decided(lambda x: x * 2, torch.ones(3)).reads


def test_a_branch_by_a_number_that_was_read_earlier_is_seen() -> None:
    def branch(x: Tensor) -> int:
        mean = float(x.mean())
        return 1 if mean > 5 else 2

    low, high, higher = (decided(branch, torch.full((2,), value)) for value in (1.0, 7.0, 9.0))
    assert len(low.flipped_lines(high)) == 1
    assert not high.flipped_lines(higher)


def test_sizes_that_depend_on_values_are_seen() -> None:
    assert decided(lambda x: x[x > 0], torch.ones(2)).has_value_sizes
    assert decided(torch.nonzero, torch.ones(2)).has_value_sizes
    assert decided(lambda x: torch.where(x > 0), torch.ones(2)).has_value_sizes
    assert decided(lambda x: torchvision.ops.nms(x[:, None].expand(-1, 4), x, 0.5), torch.ones(2)).has_value_sizes
    assert not decided(lambda x: torch.where(x > 0, x, 1), torch.ones(2)).has_value_sizes
    assert not decided(lambda x: x[:1], torch.ones(2)).has_value_sizes


def test_an_error_is_part_of_the_decisions() -> None:
    def guard(x: Tensor) -> None:
        if (x < 0).any():
            raise ValueError("negative")

    found = decided(guard, -torch.ones(2))
    assert found.raised
    assert not decided(guard, torch.ones(2)).raised


def changed(table: Tensor, x: Tensor) -> Tensor:
    table[0] = x[0]
    return table


OF_SIZES: dict[str, Callable[[Tensor], object]] = {
    "sizes": lambda x: torch.tensor([x.shape[0], 3, 3]).unique_consecutive(return_counts=True)[1].cumsum(0)[-1].item(),
    "a table": lambda x: [int(end) for end in torch.arange(1, 4)],
    "before values": lambda x: (torch.arange(3).sum().item(), bool(x.sum() > 0)),
}
OF_VALUES: dict[str, Callable[[Tensor], object]] = {
    "written into": lambda x: changed(torch.zeros(2), x)[0].item(),
    "written into a view": lambda x: changed((table := torch.zeros(2))[:1], x) is None or table[0].item(),
    "chosen": lambda x: torch.arange(4)[x.argmax()].item(),
    "repeated": lambda x: torch.arange(2).repeat_interleave(x.long()).sum().item(),
    "made from values": lambda x: bool(torch.tensor([x[0], 1.0]).sum() > 0),
    "drawn": lambda x: torch.zeros(2).bernoulli_(0.5).sum().item(),
    "read before": lambda x: (x[0].item(), torch.full((2,), 1.0).sum().item())[1],
    "of torch.func": lambda x: torch.func.vmap(lambda row: row * torch.ones(()))(x).sum().item(),
    "sparse": lambda x: x.diag().to_sparse().sum().item(),
}


@pytest.mark.parametrize("what", OF_SIZES)
def test_a_value_that_is_made_from_sizes_alone_is_fixed(what: str) -> None:
    found = decided(OF_SIZES[what], X)
    assert found.sites()[0] in found.fixed
    assert not found.has_value_sizes


@pytest.mark.parametrize("what", OF_VALUES)
def test_a_value_that_may_depend_on_others_is_not_fixed(what: str) -> None:
    found = decided(OF_VALUES[what], X)
    assert found.reads
    assert not found.fixed


def test_a_function_may_have_arguments_of_any_name() -> None:
    given = {"name": 1, "function": 2}
    assert FixedTensors().called(lambda **arguments: arguments, "own", **given) == (given, False)
