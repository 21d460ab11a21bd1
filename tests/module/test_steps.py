from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_onnx import ConfigurationError
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.fused import Around
from lightning_onnx.module.steps import check_steps, step_calls, steps_in
from lightning_onnx.module.weights.copying import private_copy

X = torch.arange(12.0).reshape(3, 4)


def halved(x: Tensor) -> Tensor:
    return x / 2


class Split(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :2], x[:, 2:]


class Merge(nn.Module):
    def forward(self, pair: tuple[Tensor, Tensor]) -> Tensor:
        return torch.cat(pair, 1)


class Both(nn.Module):
    """Runs its parts side by side, so that they are no pipeline."""

    def __init__(self) -> None:
        super().__init__()
        self.transforms = [lambda x: x[:, :2], lambda x: x[:, 2:]]

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.transforms], 1)


def checked(part: nn.Module, *args: Tensor) -> None:
    copied, around = private_copy(nn.Linear(4, 2)), Around("forward", part)
    around.attach(copied)
    check_steps(copied, around, [Observation.of(around.sample(copied, (args, {})), "a test")])


def test_steps_are_those_of_pipelines() -> None:
    steps = v2.Compose([nn.Sequential(nn.ReLU(), nn.Tanh()), halved])
    assert [type(step).__name__ for step in steps_in(steps)] == ["ReLU", "Tanh", "function"]
    assert [type(step).__name__ for step in steps_in(Both())] == ["Both"]


@pytest.mark.parametrize("part", [nn.Sequential(Split(), Merge()), v2.Compose([Split(), Merge()]), Both()])
def test_preprocessing_that_runs_is_not_refused(part: nn.Module) -> None:
    checked(part, X)
    assert torch.equal(part(X), X)


def test_a_pair_stays_one_argument_unless_there_were_several() -> None:
    parts = v2.Compose([Split(), Merge()])
    assert [len(call.args) for call in step_calls(parts, (X,), {})] == [1, 1]
    pairs = v2.Compose([lambda x, y: (x + y, y), torch.sub])
    assert [len(call.args) for call in step_calls(pairs, (X, X), {})] == [2, 2]


def test_the_step_that_does_not_run_is_named() -> None:
    image = torch.zeros(1, 3, 5, 5, dtype=torch.uint8)
    with pytest.raises(ConfigurationError, match=r"preprocess: step 3, ToPILImage\(.*\), does not run on the sample"):
        checked(v2.Compose([v2.ToImage(), v2.Resize(4), v2.ToPILImage(), v2.RandomCrop(99)]), image)
    with pytest.raises(ConfigurationError, match=r"preprocess: step 1, Merge\(.*\), does not run on the sample"):
        checked(Merge(), X)
