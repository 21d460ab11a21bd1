"""Labels that only a loss needs are left out of the graph; those that outputs depend on are not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.module.calls.observer import ForwardObserver
from lightning_onnx.module.runner import first_that_runs
from tests.module.calls.observing import observed


class DecodesLabels(nn.Module):
    """Like an encoder and decoder that decodes its own input if it gets no labels."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        decoded = x if labels is None else labels
        found = {"scores": decoded * 2, "encoded": x + 1}
        return found if labels is None else {"loss": decoded.mean(), **found}


class LossFirst(nn.Module):
    """Returns its loss before the others, which thereby have other places."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> tuple[Tensor, ...]:
        outputs = x * 2, x + 1
        return outputs if labels is None else ((outputs[0] - labels).square().mean(), *outputs)


class LossForLabels(nn.Module):
    """Returns the loss of each row in place of the scores."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return x * 2 if labels is None else (x * 2 - labels).square().mean(1)


class ResizesToLabels(nn.Module):
    """Only the size of the labels matters to the scores."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        if labels is None:
            return {"scores": x}
        scores = x.repeat(1, labels.shape[1] // x.shape[1])
        return {"loss": (scores - labels).square().mean(), "scores": scores}


def test_labels_stay_where_the_module_decodes_them() -> None:
    observation = observed(DecodesLabels(), (torch.randn(4, 3), torch.randn(4, 3)))
    found, _ = first_that_runs(DecodesLabels(), "forward", [observation], exclude_inputs=["labels"])
    assert list(found.samples[0].paths) == [("x",), ("labels",)]
    assert (found.notes, found.remarks) == (
        (),
        ("labels stays an input: without it, the module has other values of scores",),
    )


def test_labels_that_are_excluded_by_name_are_left_out_with_a_note() -> None:
    observation = observed(DecodesLabels(), (torch.randn(4, 3), torch.randn(4, 3)))
    found, _ = first_that_runs(DecodesLabels(), "forward", [observation], exclude_inputs=["labels", "target"])
    assert list(found.samples[0].paths) == [("x",)]
    assert found.notes[-1] == "without labels, which exclude_inputs leaves out, the module has other values of scores"


class Margin(nn.Module):
    """Makes the score of the right class smaller, where that is known."""

    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return x if labels is None else x - 0.5 * nn.functional.one_hot(labels, 3)


def test_one_label_for_each_row_is_left_out_with_a_note() -> None:
    observation = observed(Margin(), (torch.randn(4, 3), torch.tensor([0, 1, 2, 1])))
    found, _ = first_that_runs(Margin(), "forward", [observation], exclude_inputs=["labels"])
    assert list(found.samples[0].paths) == [("x",)]
    assert found.notes[-1] == "without labels, which exclude_inputs leaves out, the module has other values of output"


@pytest.mark.parametrize("module", [LossFirst(), LossForLabels(), ResizesToLabels()])
def test_labels_of_a_loss_alone_are_left_out(module: nn.Module) -> None:
    columns = 6 if isinstance(module, ResizesToLabels) else 3
    observation = observed(module, (torch.randn(4, 3), torch.randn(4, columns)))
    found, _ = first_that_runs(module, "forward", [observation], exclude_inputs=["labels"])
    assert list(found.samples[0].paths) == [("x",)]
    assert len(found.notes) == 1


class Detects(nn.Module):
    def forward(self, **batch: Any) -> dict[str, Tensor]:
        loss = sum((target["boxes"].sum() for target in batch.get("labels", ())), torch.zeros(()))
        return {"scores": batch["x"] * 2, "loss": loss}


def test_all_that_an_excluded_input_holds_is_left_out() -> None:
    """Such as the boxes of each image, in a list."""
    module, targets = Detects(), [{"boxes": torch.ones(n, 4), "classes": torch.ones(n)} for n in (2, 1)]
    observer = ForwardObserver(module.eval())
    observer.attach()
    module(x=torch.randn(2, 3), labels=targets)
    observer.detach()
    found, _ = first_that_runs(module, "forward", observer.observations(), exclude_inputs=["labels"])
    assert list(found.samples[0].paths) == [("x",)]
    assert found.notes == ("left out of the graph, as exclude_inputs says: labels",)
