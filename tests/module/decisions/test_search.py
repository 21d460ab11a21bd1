"""Inputs that change a decision are found; decisions that no input changes are reported."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.module.cases import Case
from lightning_onnx.module.decisions.search import Searched, search, search_once
from lightning_onnx.module.runner import Runner
from tests.tracing.making import made


def searched(module: nn.Module, *tensors: Tensor) -> Searched:
    flat, request = made(module, *tensors, axes=({0: "batch"}, *({} for _ in tensors[1:])))
    return search(Runner(flat), request)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


class By(nn.Module):
    """Takes one of two branches."""

    def __init__(self, condition: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.condition = condition

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if self.condition(x) else x * -3


class Score(nn.Module):
    """Stops early if a score of the network is high."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, x: Tensor) -> Tensor:
        score = self.net(x).sigmoid()
        if (score > 0.7).all():
            return score
        return score * 2


class Decoder(nn.Module):
    """Decodes greedily until every row has ended."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.cell, self.embed, self.head = nn.GRUCell(4, 4), nn.Embedding(5, 4), nn.Linear(4, 5)
        self.head.weight.data *= 4

    def forward(self, x: Tensor) -> Tensor:
        state, token, tokens = x, torch.ones(x.shape[0], dtype=torch.long), []
        ended = torch.zeros(x.shape[0], dtype=torch.bool)
        for _ in range(4):
            state = self.cell(self.embed(token), state)
            token = self.head(state).argmax(-1)
            tokens.append(nn.functional.one_hot(token, 5))
            ended = ended | (token == 0)
            if ended.all():
                break
        return torch.stack(tokens, 1).float().sum(1)


class Halves(nn.Module):
    """Halves until it is small."""

    def forward(self, x: Tensor) -> Tensor:
        while x.abs().max() > 0.1:
            x = x / 2
        return x


class Searches(nn.Module):
    """Halves until it is small; NaN never is."""

    def forward(self, x: Tensor) -> Tensor:
        while not x.abs().max() < 0.1:
            x = x / 2
        return x


MODULES: dict[str, nn.Module] = {
    "a mean": By(lambda x: x.mean() > 5),
    "a number": By(lambda x: float(x.mean()) > 5),
    "a count": By(lambda x: (x > 4).sum() >= 3),
    "a size": By(lambda x: torch.nonzero(x > 3).numel() > 0),
    "a list": By(lambda x: max(x.flatten().tolist()) > 6),
    "a score": Score(),
    "a token": Decoder(),
    "a loop": Halves(),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_inputs_that_decide_otherwise_are_found(name: str) -> None:
    module = MODULES[name]
    found = searched(module, drawn(2, 4 if isinstance(module, Decoder) else 3))
    assert found.cases
    assert not found.unflipped
    assert found.flipped_lines
    for case in found.cases:
        assert case.kind == "decision"
        assert case.expected is not None
        torch.testing.assert_close(case.expected[0], module(case.tensors[0]).detach())


def test_a_threshold_that_only_the_gradient_finds() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    found = searched(By(lambda x: (net(x) * torch.tensor([1.0, -1.0])).sum() > 1.65), drawn(2, 3))
    assert any("moved towards the condition" in case.label for case in found.cases)
    assert not found.unflipped


def test_integers_are_moved_to_their_neighbours_only() -> None:
    class Loop(nn.Module):
        def forward(self, x: Tensor, number: Tensor) -> Tensor:
            for _ in range(int(number)):
                x = x * 2
            return x

    found = searched(Loop(), drawn(2, 3), torch.tensor(3))
    assert {int(case.tensors[1]) for case in found.cases} <= {1, 2, 4}
    assert found.cases
    assert not found.unflipped


def test_a_guard_is_not_a_case_but_counts_as_changed() -> None:
    class Guarded(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if (x < -1000).any():
                raise ValueError("too small")
            return x * 2

    found = searched(Guarded(), drawn(2, 3))
    assert not found.cases
    assert not found.unflipped


def test_decisions_that_no_input_changes_are_reported_with_their_line() -> None:
    found = searched(By(lambda x: round(float(x.mean()), 3) == 77.123), drawn(2, 3))
    assert [site.what for site in found.unflipped] == ["float() of a tensor"]
    assert found.tried > 20


def test_a_method_that_decides_nothing_is_run_once() -> None:
    found = searched(nn.Linear(3, 2), drawn(2, 3))
    assert (found.cases, found.unflipped, found.tried) == ((), (), 0)


def test_a_method_that_decides_by_its_own_calls_is_not_searched() -> None:
    calls = (i for i in itertools.count())  # a generator cannot be put back

    class Counts(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if next(calls) % 2 and x.sum() > 0 else x

    found = searched(Counts(), drawn(2, 3))
    assert not found.cases


def test_inputs_that_decided_otherwise_before_are_tried_first() -> None:
    flat, request = made(By(lambda x: bool(abs(float(x.sum()) - 4000) < 1)), drawn(2, 3))
    rare = (torch.full((2, 3), 4000 / 6),)
    without, known = (
        search(Runner(flat), request, cases) for cases in ((), (Case("known", rare, kind="decision", beyond=True),))
    )
    assert without.unflipped
    assert known.cases[0].tensors is rare
    assert not known.unflipped


@pytest.mark.slow
def test_a_loop_that_does_not_end_on_some_inputs_is_ended_and_its_number_of_steps_is_seen() -> None:
    found = searched(Searches(), drawn(2, 3))
    assert found.uneven_loops == {f"test_search.py:{Searches.forward.__code__.co_firstlineno + 1}"}
    assert found.cases


def test_engines_share_one_search() -> None:
    flat, request = made(By(lambda x: x.mean() > 5), drawn(2, 3))
    run = Runner(flat)
    assert search_once(run, request) is search_once(run, request)


@pytest.mark.slow
def test_of_two_conditions_on_a_line_both_have_to_turn() -> None:
    found = searched(By(lambda x: bool(x.mean() > 2) and bool(x.mean() < 2.01)), drawn(2, 3))
    assert not found.unflipped
    assert any((case.tensors[0].mean() - 2.005).abs() < 0.005 for case in found.cases)
    unknown = searched(By(lambda x: bool(x.mean() > 2) and bool((x - x.mean()).abs().max() < -1)), drawn(2, 3))
    assert unknown.unflipped


def test_numbers_without_a_branch_have_many_cases() -> None:
    table = {0: 1.0, 1: 2.0}

    class Looks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * table.get(round(x.mean().item()), 5.0)

    found = searched(Looks(), drawn(2, 3) / 9)
    assert any(case.tensors[0].mean() > 2 for case in found.cases)


def test_inputs_with_other_outcomes_of_the_same_conditions_are_cases_of_their_own() -> None:
    found = searched(By(lambda x: bool(x.mean() > 0.9) and bool(x.mean() < 0.902)), drawn(2, 3) / 9)
    assert any(0.9 < case.tensors[0].mean() < 0.902 for case in found.cases)
