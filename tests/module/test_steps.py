from __future__ import annotations

import dataclasses
import re

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_onnx import ConfigurationError, ONNXExportError
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.fused import Around
from lightning_onnx.module.runner import first_that_runs
from lightning_onnx.module.steps import check_steps, described, refusing_part_named, step_calls, steps_in
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


def test_a_step_with_parts_is_described_on_one_line() -> None:
    assert described(nn.Sequential(nn.ReLU(), nn.Tanh())) == "Sequential((0): ReLU(), (1): Tanh())"
    pipeline = v2.Compose([v2.CenterCrop(4), v2.CenterCrop(2)])
    assert described(pipeline) == "Compose(CenterCrop(size=(4, 4)), CenterCrop(size=(2, 2)))"


def refusal(around: Around, *inputs: Tensor, ran_in_eval_mode: bool = True) -> str:
    """Return the class and the message of the error for a call that does not run."""
    copied = private_copy(nn.Linear(4, 2))
    around.attach(copied)
    given = Observation.of(around.sample(copied, (inputs, {})), "the given sample")
    given = dataclasses.replace(given, is_given=True, ran_in_eval_mode=ran_in_eval_mode)
    with pytest.raises(ONNXExportError) as caught, refusing_part_named(copied, around, [given]):
        first_that_runs(copied, around.traced_method, [given], named=around.method)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_postprocessing_that_does_not_run_is_named() -> None:
    around = Around("forward", postprocess=nn.Sequential(nn.Softmax(1), nn.Linear(5, 1)))
    told = r"ConfigurationError: postprocess: step 2, Linear\(.*\), does not run on what Linear\.forward returns"
    assert re.match(told, refusal(around, X))
    functions = Around("forward", postprocess=torch.softmax)
    assert "postprocess: step 1, softmax, does not run" in refusal(functions, X, ran_in_eval_mode=False)
    assert "float32[3, 2] (TypeError: softmax()" in refusal(functions, X)


def test_a_method_that_does_not_take_what_preprocessing_makes_is_told() -> None:
    told = "Linear.forward does not take what preprocess makes of the sample, float32[4, 3] (RuntimeError: mat1"
    assert refusal(Around("forward", preprocess=torch.t), X).startswith(f"SampleError: {told}")
    waits = refusal(Around("forward", preprocess=torch.t), X, ran_in_eval_mode=False)
    assert waits.startswith(f"NotReadyError: {told}")


def test_a_method_that_itself_fails_keeps_its_own_error() -> None:
    told = refusal(Around("forward", postprocess=nn.Softmax(1)), X[:, :3])
    assert told.startswith("SampleError: Linear.forward does not take the given sample, input [3, 3] (RuntimeError:")


def test_an_option_that_names_no_method_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"^postprocess='argmax': Linear has no such method"):
        Around("forward", postprocess="argmax").attach(private_copy(nn.Linear(4, 2)))
    with pytest.raises(ConfigurationError, match=r"^preprocess='forwart': .*: did you mean 'forward'\?"):
        Around("forward", preprocess="forwart").check_names(nn.Linear(4, 2))
    for module in (nn.Module(), LightningModule()):
        with pytest.raises(
            ConfigurationError, match=r"Module has no forward\. Define one, or name the method to export"
        ):
            Around("forward").check_names(module)
    assigned = LightningModule()
    assigned.net = nn.Linear(4, 2)
    assigned.__dict__["forward"] = assigned.net.__call__
    Around("forward").check_names(assigned)
