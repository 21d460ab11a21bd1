"""Modules with TorchScript submodules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lightning_onnx
from tests import models, outside


@pytest.mark.slow
def test_scripted_part(tmp_path: Path) -> None:
    module = nn.Sequential(torch.jit.script(nn.Linear(3, 4)), nn.ReLU()).eval()
    made = lightning_onnx.export(module, torch.randn(2, 3), directory=tmp_path / "x")
    x = torch.randn(5, 3)
    with torch.no_grad():
        np.testing.assert_allclose(outside.run(made.model_path, input=x)[0], module(x), atol=1e-5)


@pytest.mark.slow
def test_scripted_part_gets_the_checkpoints_weights(fit: Any, tmp_path: Path) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    class Scripts(models.Classifier):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(torch.jit.script(nn.Linear(6, 3)))

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])
            self.log("score", float(-self.current_epoch))

    module, callback = Scripts(), lightning_onnx.ONNXExport()
    checkpoint = ModelCheckpoint(tmp_path / "c", monitor="score", mode="max")
    fit(module, callback, checkpoint, max_epochs=2)
    assert callback.artifact is not None
    best = torch.load(checkpoint.best_model_path, weights_only=True)["state_dict"]
    x = torch.randn(5, 6)
    expected = x @ best["net.0.weight"].T + best["net.0.bias"]
    np.testing.assert_allclose(outside.run(callback.artifact.model_path, x=x)[0], expected, atol=1e-5)
