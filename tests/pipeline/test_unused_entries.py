"""Entries of a batch are left out only if no observed call needs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.errors import SearchTooLong
from lightning_onnx.module.calls.request import derive
from lightning_onnx.pipeline import prepare as preparing
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.prepare import derive_request, prepare
from lightning_onnx.pipeline.search import find_graph
from lightning_onnx.pipeline.unused_entries import EntriesRead, have_same_results
from tests.module.calls.observing import Applies, observed, runner_of

Use = Callable[[dict[str, Tensor]], Tensor]


def batch(length: int, rows: int = 3) -> tuple[Any]:
    return ({"x": torch.randn(rows, length), "mask": torch.ones(rows, length), "y": torch.zeros(rows)},)


def masks_long_ones(entries: dict[str, Tensor]) -> Tensor:
    x = entries["x"]
    return x * entries["mask"] if x.shape[1] > 8 else x * 2


def read_by(use: Use) -> EntriesRead:
    module = Applies(use)
    observation = observed(module, batch(6), batch(16))
    run = runner_of(module, observation)
    return EntriesRead.by(run, derive(observation, run))


@pytest.mark.parametrize(
    ("use", "never", "sometimes"),
    [
        pytest.param(masks_long_ones, {"y"}, {"mask"}, id="read by the second call"),
        pytest.param(lambda e: e["x"] * e["mask"], {"y"}, set(), id="read by both"),
        pytest.param(lambda e: e["x"] * 2, {"mask", "y"}, set(), id="read by none"),
    ],
)
def test_what_the_observed_calls_read(use: Use, never: set[str], sometimes: set[str]) -> None:
    found = read_by(use)
    names = ["x", "mask", "y"]
    assert {names[i] for i in found.never} == never
    assert {names[i] for i in found.sometimes} == sometimes


def test_where_reads_cannot_be_seen_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise NotImplementedError("an operator that no mode knows")

    monkeypatch.setattr("lightning_onnx.module.flat.FlatModule.untouched", fails)
    assert read_by(masks_long_ones) == EntriesRead()


@pytest.mark.parametrize(
    ("use", "is_same"),
    [
        pytest.param(lambda e: e["x"] * 2, True, id="not used"),
        pytest.param(masks_long_ones, False, id="a call that fails with the other call's mask"),
        pytest.param(lambda e: e["x"] * e["mask"].sum(), False, id="a call with other results"),
    ],
)
def test_calls_have_the_same_results_without_an_entry(use: Use, is_same: bool) -> None:
    module = Applies(use)
    observation = observed(module, batch(6), batch(16))
    run = runner_of(module, observation)
    reduced = runner_of(module, observation.with_constants([1]))
    assert have_same_results(run, derive(observation, run), reduced, [1]) is is_same


class MasksLongOnes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        x = batch["x"]
        if x.shape[1] > 8:
            x = x * batch["mask"].unsqueeze(-1)
        return self.layer(x)


def test_a_later_call_needs_what_was_left_out() -> None:
    module = MasksLongOnes()
    calls: list[Any] = [({"x": torch.randn(3, n, 4), "mask": torch.ones(3, n), "y": torch.zeros(3)},) for n in (6, 16)]
    short, both = observed(module, calls[0]), observed(module, *calls)
    left_out = ("batch.mask", "batch.y")
    assert derive_request(module, [short], ExportConfig(), left_out) is not None
    assert derive_request(module, [both], ExportConfig(), left_out) is None
    assert derive_request(module, [both], ExportConfig(), ("batch.y",)) is not None


@pytest.mark.slow
@pytest.mark.parametrize("is_seen", [True, False])
def test_an_entry_that_one_of_the_calls_reads_stays(is_seen: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not is_seen:
        monkeypatch.setattr("lightning_onnx.module.flat.FlatModule.untouched", lambda *_: 1 / 0)
    module = MasksLongOnes()
    calls: list[Any] = [
        ({"x": torch.randn(3, n, 4), "mask": torch.randint(0, 2, (3, n)).float(), "y": torch.zeros(3)},)
        for n in (6, 16)
    ]
    plan = prepare(module, [observed(module, *calls, batch_sizes=(3, 3))], ExportConfig())
    assert {"batch_x", "batch_mask"} <= set(plan.graph.request.input_names)
    assert 16 in [case.tensors[0].shape[1] for case in plan.cases if case.kind == "observed"]
    assert not any("batch.mask" in note for note in plan.notes)


class ForgetsLoss(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        found = self.layer(batch["x"])
        self.layer.weight.detach() + batch["y"].sum()
        return found


@pytest.mark.slow
@pytest.mark.parametrize("is_in_time", [True, False])
def test_the_first_graph_is_kept_if_there_is_no_time_for_one_without_an_entry(
    is_in_time: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = []

    def search(*args: Any, **options: Any) -> Any:
        searches.append(args)
        if len(searches) == 2 and not is_in_time:
            raise SearchTooLong("no graph yet")
        return find_graph(*args, **options)

    monkeypatch.setattr(preparing, "find_graph", search)
    module = ForgetsLoss()
    call: Any = ({"x": torch.randn(3, 4), "y": torch.zeros(3)},)
    plan = prepare(module, [observed(module, call, batch_sizes=(3,))], ExportConfig())
    assert len(searches) == 2
    assert plan.graph.request.input_names == plan.request.input_names
    assert plan.request.input_names == (("batch_x",) if is_in_time else ("batch_x", "batch_y"))
    assert plan.left_out == (("batch.y",) if is_in_time else ())
