"""Weights are loaded into the copy, or the error says why they do not fit; adapters are merged."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

import lightning_onnx
from lightning_onnx import ONNXExport, WeightsError
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.loading import load
from tests import models, outside


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(WeightsError, match="do not fit Linear"):
        load(private_copy(nn.Linear(2, 2)), nn.Linear(3, 3).state_dict())
    with pytest.raises(
        WeightsError, match=r'Unexpected key\(s\) in state_dict: "0\.weight", "0\.bias"\. Is it the right class\?$'
    ):
        load(nn.ReLU(), nn.Sequential(nn.Linear(3, 3)).state_dict(), advice="Is it the right class?")


class HasSpareHead(models.Classifier):
    """A lazy part is never called, so that its parameters and buffers have no shape."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Sequential(nn.LazyBatchNorm1d(), nn.LazyLinear(3))


@pytest.mark.slow
def test_layers_that_were_never_called_are_left_out(fit: Any, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "checkpoints", monitor="val_loss")
    callback = ONNXExport(tmp_path / "onnx")
    fit(module := HasSpareHead(), checkpoint, callback)
    assert callback.artifact is not None, callback.failures
    assert callback.artifact.proven
    assert callback.artifact.manifest["source"]["weights"] == "best"
    x = torch.randn(3, 6)
    with torch.no_grad():
        np.testing.assert_allclose(outside.run(callback.artifact.model_path, x=x)[0], module.eval()(x), atol=1e-5)


@pytest.mark.slow
def test_adapters_are_merged(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    module = models.Classifier()
    config = peft.LoraConfig(target_modules=["net.0", "net.4"], r=2, init_lora_weights=False)
    module.net = peft.get_peft_model(module, config).base_model.model.net
    module.eval()
    before = copy.deepcopy(module.state_dict())
    made = lightning_onnx.export(module, torch.randn(2, 6), directory=tmp_path / "x")
    import onnx

    names = [t.name for t in onnx.load(str(made.model_path)).graph.initializer]
    assert not [n for n in names if "lora" in n]
    x = torch.randn(3, 6)
    with torch.no_grad():
        np.testing.assert_allclose(outside.run(made.model_path, x=x)[0], module(x), atol=1e-5)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
