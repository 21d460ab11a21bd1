"""A target among the inputs, and names in ``exclude_inputs`` without an effect, are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.calls.request import derive
from lightning_onnx.module.runner import first_that_runs
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.targets import check_excluded, notes_on
from tests.module.calls.observing import observed


class Optional(nn.Module):
    def forward(self, x: Tensor, target: Tensor | None = None) -> dict[str, Tensor]:
        return {"y": x * 2} if target is None else {"y": x * 2, "loss": F.mse_loss(x, target)}


class Required(nn.Module):
    def forward(self, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"y": x * 2, "loss": F.mse_loss(x, target)}


class Reads(nn.Module):
    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"y": batch["x"] * 2, "loss": F.mse_loss(batch["x"], batch["target"])}


class OnlyLoss(nn.Module):
    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(x, target)


class Decodes(nn.Module):
    def forward(self, x: Tensor, target: Tensor) -> dict[str, Tensor]:
        return {"y": x * target, "norm": x.norm()}


def notes(module: nn.Module, excluded: Sequence[str]) -> list[str]:
    x, target = torch.randn(4, 3), torch.randn(4, 3)
    call: tuple[Any, ...] = ({"x": x, "target": target},) if isinstance(module, Reads) else (x, target)
    observations = [observed(module, call)]
    config = ExportConfig(exclude_inputs=excluded)
    observation, run = first_that_runs(module, "forward", observations, excluded)
    return list(notes_on(observations, run, derive(observation, run), config))


@pytest.mark.parametrize("module", [Optional(), Required(), Reads(), OnlyLoss()])
def test_a_target_among_the_inputs_is_told(module: nn.Module) -> None:
    (note,) = notes(module, ["labels"])
    assert "target' changes only" in note
    assert "exclude_inputs=('target',)" in note


@pytest.mark.parametrize(("module", "excluded"), [(Optional(), ["target"]), (Decodes(), ["labels"]), (Decodes(), [])])
def test_nothing_is_told_without_a_target(module: nn.Module, excluded: list[str]) -> None:
    assert notes(module, excluded) == []


@pytest.mark.parametrize("module", [Required(), Reads(), Decodes()])
def test_an_input_that_cannot_be_left_out_is_told(module: nn.Module) -> None:
    (note,) = notes(module, ["labels", "target"])
    assert "does not run without it" in note


def test_a_name_that_no_input_has_is_told_with_the_nearest() -> None:
    note, _ = notes(Reads(), ["targets"])
    assert (
        "exclude_inputs has 'targets', but no call of Reads.forward has such an input: did you mean 'target'?" in note
    )


class Several(Reads):
    def decode(self, codes: Tensor, target_lengths: Tensor) -> Tensor:
        return codes * target_lengths


def test_a_typing_error_in_a_name_is_an_error() -> None:
    def check(*names: str, module: nn.Module = Reads()) -> None:  # noqa: B008
        observations = [observed(module, ({"x": torch.ones(4, 3), "target": torch.ones(4, 3)},))]
        check_excluded(module, observations, ExportConfig(exclude_inputs=names))

    with pytest.raises(ConfigurationError, match=r"has 'traget', but no call of Reads.forward .* mean 'target'"):
        check("traget")
    check("target", "target_2", "labels")  # the second may come with a later call
    check("not_there_yet")
    check("target_lengths", module=Several())  # of another method
