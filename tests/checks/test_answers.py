"""What is counted of answers and targets, against scikit-learn and numpy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix
from torch import Tensor

from lightning_onnx.checks.answers import AnswerTally
from lightning_onnx.manifest.answers import Answers


def tallied(method: Callable[..., Any], batches: list[Any], take: Callable[[Any], Tensor]) -> Answers | None:
    tally = AnswerTally()
    listened = tally.listening(method)
    for batch in batches:
        listened(take(batch))
        tally.end_batch(batch)
    return tally.answers()


def linear(columns: int) -> Callable[[Tensor], Tensor]:
    weight = torch.randn(4, columns, generator=torch.Generator().manual_seed(1))
    return lambda x: x @ weight


@pytest.fixture
def inputs() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(size, 4, generator=generator) for size in (8, 8, 3)]


def test_the_confusion_matrix_is_that_of_scikit_learn(inputs: list[Tensor]) -> None:
    batches = [{"image": x, "label": torch.randint(0, 3, (len(x),)), "index": torch.rand(len(x))} for x in inputs]
    found = tallied(linear(3), batches, lambda batch: batch["image"])
    answers = np.concatenate([linear(3)(x).argmax(1).numpy() for x in inputs])
    targets = np.concatenate([batch["label"].numpy() for batch in batches])
    assert found is not None
    assert np.array_equal(found.confusion, confusion_matrix(targets, answers, labels=range(3)))
    assert found.residuals is None
    assert Answers.find({"answers": {"file": found.to_dict()}}, "file") == found


def test_residuals_are_those_of_numpy_and_tell_no_value(inputs: list[Tensor]) -> None:
    batches = [(x, torch.randn(len(x), 1)) for x in inputs]
    found = tallied(linear(1), batches, lambda batch: batch[0])
    targets = torch.cat([target for _, target in batches]).numpy()
    differences = torch.cat([linear(1)(x) for x in inputs]).numpy() - targets
    assert found is not None
    assert found.residuals is not None
    assert found.confusion == ()
    counts = np.array(found.residuals.counts)
    assert counts.sum() == 19
    for values, (low, high), axis in (
        (targets, found.residuals.targets, 1),
        (differences, found.residuals.differences, 0),
    ):
        assert low <= values.min() <= values.max() <= high
        edges = np.linspace(low, high, counts.shape[axis] + 1)
        assert np.array_equal(counts.sum(1 - axis), np.histogram(values, edges)[0])
        assert not {low, high} & set(values.ravel().tolist())
    assert Answers.find({"answers": {"module": found.to_dict()}}, "module") == found


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(lambda x: (x, torch.zeros(len(x)).long(), torch.ones(len(x)).long()), id="two that may be meant"),
        pytest.param(lambda x: (x,), id="no target"),
        pytest.param(lambda x: (x, torch.full((len(x),), 3)), id="a class that the output does not have"),
        pytest.param(lambda x: (x, torch.full((len(x),), -100)), id="an ignored class"),
        pytest.param(lambda x: (x, torch.zeros(len(x), 2).long()), id="targets of another shape"),
    ],
)
def test_nothing_is_told_of_targets_that_are_not_clear(batch: Callable[[Tensor], Any], inputs: list[Tensor]) -> None:
    assert tallied(linear(3), [batch(x) for x in inputs], lambda made: made[0]) is None


def test_scores_of_two_classes_have_no_residuals(inputs: list[Tensor]) -> None:
    batches = [(x, (torch.rand(len(x), 1) > 0.5).float()) for x in inputs]
    assert tallied(linear(1), batches, lambda batch: batch[0]) is None


def test_residuals_are_those_of_the_first_values() -> None:
    batches = [(torch.randn(15_000, 1), place + torch.arange(15_000)[:, None] % 3 / 4) for place in range(3)]
    found = tallied(lambda x: x, batches, lambda batch: batch[0])
    assert found is not None
    assert found.residuals is not None
    assert np.array(found.residuals.counts).sum() == 20_000
    assert found.residuals.targets[1] < 2


def test_nothing_is_told_if_a_batch_does_not_fit(inputs: list[Tensor]) -> None:
    tally = AnswerTally()
    method = tally.listening(linear(3))
    for calls, x in zip((1, 2, 1), inputs, strict=True):
        for _ in range(calls):
            method(x)
        tally.end_batch((x, torch.zeros(len(x)).long()))
    assert tally.answers() is None


def test_an_input_is_no_target() -> None:
    tokens = torch.randint(0, 3, (5,))
    found = tallied(lambda t: torch.nn.functional.one_hot(t, 3).float(), [(tokens,)], lambda batch: batch[0])
    assert found is None


@pytest.mark.parametrize(
    "figures",
    [
        {"answers": {"file": {"confusion": [[1, 2]]}}},
        {"answers": {"file": {"confusion": [["1"]]}}},
        {"answers": {"file": {"confusion": "evil"}}},
        {"answers": {"file": {"residuals": {"targets": [1.0], "differences": [0.0, 1.0], "counts": []}}}},
        {"answers": {"file": {"residuals": {"targets": [1.0, 1.0], "differences": [0.0, 1.0], "counts": []}}}},
        {"answers": []},
        {},
    ],
)
def test_figures_of_others_are_left_out(figures: dict[str, Any]) -> None:
    assert Answers.find(figures, "file") is None


def test_entries_that_the_graph_does_not_use_may_be_the_target(inputs: list[Tensor]) -> None:
    def forward(batch: dict[str, Tensor]) -> Tensor:
        return batch["x"].sum(1)

    def told(used: list[tuple[str, ...]]) -> Answers | None:
        tally = AnswerTally(inspect.signature(forward), used)
        listened = tally.listening(forward)
        for x in inputs:
            batch = {"x": x, "target": x[:, 0]}
            listened(batch)
            tally.end_batch(batch)
        return tally.answers()

    found = told([("batch", "x")])
    assert found is not None
    assert found.residuals is not None
    assert told([("batch", "x"), ("batch", "target")]) is None
    assert told([("other",)]) is None
