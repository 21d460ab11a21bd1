"""Decisions based on tensor values that a graph keeps: wrong ones fail, others are reported."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx.errors import ParityError
from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.source import Source
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.pipeline.produce import produce

X = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)) + 0.1


class Signed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x * -3


class Rounds(nn.Module):
    def forward(self, x: Tensor, rounds: Tensor) -> Tensor:
        for _ in range(int(rounds)):
            x = x * 2 + 1
        return x


class Largest(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x / max(x.flatten().tolist())


class Guarded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if (x < -1000).any():
            raise ValueError("too small")
        return x * 2


class Both(nn.Module):
    """Both branches give the same result."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x + x


class Rare(nn.Module):
    """Branches on a number that no tried input equals."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 3 if int(round(float(x.mean()), 3) * 1000) == 77123 else x * 2


class Adaptive(nn.Module):
    """Solves an equation with steps that depend on the error; on NaN, it never ends."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.field = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        time, step = 0.0, 0.5
        while time < 1:
            step = min(step, 1 - time)
            first = self.field(x)
            second = self.field(x + step * first)
            error = (step * (second - first)).abs().max()
            if not error <= 1e-2:
                step /= 2
                continue
            x, time, step = x + step * (first + second) / 2, time + step, step * 1.5
        return x


def exported(module: nn.Module, path: Path, *tensors: Tensor, **options: Any) -> lightning_onnx.ONNXArtifact:
    return lightning_onnx.export(module, tensors or (X,), directory=path / "made", **options)


TORCHSCRIPT: list[dict[str, Any]] = [{"engine": "torchscript"}, {"opset_version": 13}]


@pytest.mark.slow
def test_a_loop_with_a_number_of_steps_by_values_is_an_error_that_names_it(tmp_path: Path) -> None:
    line = Adaptive.forward.__code__.co_firstlineno + 2
    with pytest.raises(
        ParityError, match=rf"number of steps of the loop at test_decisions.py:{line} depends on tensor"
    ):
        exported(Adaptive(), tmp_path, X * 3)


@pytest.mark.slow
@pytest.mark.parametrize("options", [*TORCHSCRIPT, {}])
def test_a_file_that_keeps_a_wrong_decision_is_an_error_that_names_the_line(
    options: dict[str, Any], tmp_path: Path
) -> None:
    line = Signed.forward.__code__.co_firstlineno + 1
    with pytest.raises(
        ParityError,
        match=rf"based on tensor values.* test_decisions.py:{line} \(bool\(\) of a tensor\)",
    ):
        exported(Signed(), tmp_path, **options)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("engine", ["torchscript", pytest.param("auto", marks=pytest.mark.slow)])
def test_a_wrong_decision_makes_no_dim_static(engine: Any) -> None:
    """The method decides otherwise on all four rows than on the first two: their values are the cause."""
    module = private_copy(Signed())
    calls = [Observation.of(sample_of(module, "forward", ((x,), {})), "") for x in (torch.cat([X[:2], -9 * X[2:]]), X)]
    plan = prepare(module, calls, ExportConfig(engine=engine), refuse_decisions=False)
    assert plan.graph.signature.inputs[0].shape == ("batch", 3)
    assert not plan.graph.signature.ranges
    assert not [note for note in plan.notes if "static" in note or "sizes" in note]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "tensors"), [(Rounds(), (X, torch.tensor(3))), (Largest(), (X,))], ids=["rounds", "list"]
)
def test_a_number_that_the_graph_keeps_is_an_error(
    module: nn.Module, tensors: tuple[Tensor, ...], tmp_path: Path
) -> None:
    with pytest.raises(ParityError, match=r"based on tensor values|number of steps .* depends on tensor values"):
        exported(module, tmp_path, *tensors, engine="torchscript")


@pytest.mark.slow
@pytest.mark.parametrize("options", [TORCHSCRIPT[0], {}])
@pytest.mark.parametrize(
    ("module", "told"),
    [
        (Guarded, "the method raises on inputs that change it"),
        (Both, "inputs that change it"),
        (Rare, "changed the decision, so the file was not tested"),
    ],
)
def test_right_files_pass_with_a_note(
    module: Callable[[], nn.Module], told: str, options: dict[str, Any], tmp_path: Path
) -> None:
    made = exported(module(), tmp_path, **options)
    assert made.passed
    (note,) = [note for note in made.manifest["notes"] if "makes a decision based on tensor values" in note]
    assert told in note
    assert "test_decisions.py:" in note
    assert str(tmp_path) not in note


class Logged(nn.Module):
    """Reads a value that decides nothing."""

    def forward(self, x: Tensor) -> Tensor:
        self.mean = x.mean().item()
        return x * 2


@pytest.mark.slow
def test_a_value_that_is_only_kept_has_no_note(tmp_path: Path) -> None:
    made = exported(Logged(), tmp_path, engine="torchscript")
    assert made.passed
    assert not [note for note in made.manifest["notes"] if "based on tensor values" in note]


class Written(nn.Module):
    """Decides by a number of its code that lies far beyond the observed values."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 3 if round(float(x.mean()), 3) == 77.125 else x * 2


@pytest.mark.slow
@pytest.mark.parametrize("options", [TORCHSCRIPT[0], {}])
def test_a_number_that_is_written_in_the_code_decides(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="based on tensor values"):
        exported(Written(), tmp_path, **options)


class Printed(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if f"{x.mean():.0f}" in ("0", "1") else x * 3


class Shared(nn.Module):
    """Numpy looks at the tensor's own memory."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if np.from_dlpack(x.detach()).max() < 8 else x * 3


@pytest.mark.slow
@pytest.mark.parametrize("module", [Printed(), Shared()])
def test_a_value_that_leaves_in_another_way_is_an_error_that_names_the_line(module: nn.Module, tmp_path: Path) -> None:
    line = type(module).forward.__code__.co_firstlineno + 1
    with pytest.raises(ParityError, match=f"based on tensor values.* test_decisions.py:{line}"):
        exported(module, tmp_path)


def test_a_method_that_decides_nothing_has_no_note(tmp_path: Path) -> None:
    made = exported(nn.Linear(3, 2), tmp_path, engine="torchscript")
    assert made.passed
    assert not made.manifest["notes"]


class Gated(nn.Module):
    """Before training the condition is false on all inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * 5 if (x * self.gain).mean() > 1 else x * 2


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torchscript", "dynamo"])
def test_the_search_is_repeated_with_the_trained_weights(engine: Any, tmp_path: Path) -> None:
    module = private_copy(Gated())
    observation = Observation.of(sample_of(module, "forward", ((X,), {})), "a test")
    plan = prepare(module, [observation], ExportConfig(engine=engine))
    (note,) = [note for note in plan.notes if "makes a decision based on tensor values" in note]
    assert "was not tested" in note
    trained = copy.deepcopy(module)
    trained.gain.data.fill_(0.5)  # type: ignore[operator, union-attr]
    made = produce(plan, LoadedModule(trained, Source()), tmp_path / "made")
    (check,) = made.manifest["checks"]
    assert check["status"] == "failed"
    assert "change the decision" in check["reason"]
    assert note not in made.manifest["notes"]
    assert any("makes a decision based on tensor values" in told for told in made.manifest["notes"])
