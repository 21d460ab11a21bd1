"""Small modules of both kinds, contexts of them, and validation loops without a Trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lightning_onnx import CheckContext, ONNXArtifact, export
from lightning_onnx.artifacts.stand_in import ExportedCall
from lightning_onnx.checks.base import CheckedFile, CheckedModule, CheckInputs
from lightning_onnx.checks.loaders import Loaders
from lightning_onnx.checks.validation import Validation
from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.runtimes.worker import client


class Convolutions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU()
        )
        self.head = nn.Linear(8, 4)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.body(image).mean((2, 3)))


class Sequence(nn.Module):
    """Dynamic in the length, too."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.LSTM(8, 16, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, steps: Tensor) -> Tensor:
        return self.head(self.recurrent(steps)[0][:, -1])


MODULES: dict[str, tuple[type[nn.Module], tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    # class, traced shape, a shape that was not traced, options
    "convolutions": (Convolutions, (2, 3, 12, 12), (7, 3, 12, 12), {}),
    "sequence": (Sequence, (2, 5, 8), (7, 11, 8), {"dynamic_axes": {"steps": {0: "batch", 1: "length"}}}),
}


def module_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    return MODULES[name][0]().eval()


def exported(module: nn.Module, sample: Tensor, directory: Path, **options: Any) -> ONNXArtifact:
    return export(module, sample, directory=directory, **({"test_data": None} | options))


def run(path: Path, inputs: Any) -> list[Any]:
    """In onnxruntime itself."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


@pytest.fixture
def staged(tmp_path: Path) -> Any:
    """Makes the context of a staged model.onnx."""

    def make(module: nn.Module, sample: Tensor, loader: Any = None) -> CheckContext:
        made = exported(module, sample, tmp_path / "staged")
        flat = FlatModule(module, "forward", sample_of(module, "forward", ((sample,), {})), is_stochastic=False)
        cases = (
            Case("traced", (sample,), kind="traced"),
            Case("resized", (torch.cat([sample, sample]),), kind="resized"),
        )
        paths = made.manifest["source"]["paths"]
        ways = [tuple(tuple(path) for path in paths[kind].values()) for kind in ("inputs", "outputs")]
        call = ExportedCall("forward", made.signature, *ways)
        validation = None if loader is None else Validation(module, Loaders(loader, missing=None), call)
        return CheckContext(
            file=CheckedFile(made.model_path, made.signature, client.hosted("onnxruntime")),
            module=CheckedModule(flat.reference, flat.perturbed, is_stochastic=False, flat=flat),
            inputs=CheckInputs(cases, validation=validation),
        )

    return make
