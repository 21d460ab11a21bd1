from __future__ import annotations

import argparse
import copy
import pathlib
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lightning_onnx
from lightning_onnx import WeightsError
from lightning_onnx.module.weights.checkpoint_file import read_checkpoint
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.loading import load
from lightning_onnx.module.weights.state import state
from tests import models, outside


class Odd(nn.Module):
    """Ties, lists, hooks, locks, cached activations, half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 3)
        self.tied = self.a
        self.layers = [self.a]
        self.half_ = nn.Linear(2, 2).half()
        self.double_ = nn.Linear(2, 2).double()
        self.lock = threading.Lock()
        self.cache: Any = None

    def forward(self, x: Any) -> Any:
        self.cache = self.layers[0](x)
        return self.cache * 2


def test_copy_computes_the_same_and_shares_nothing() -> None:
    module = Odd()
    module(torch.ones(1, 3))
    module.train()
    copied = private_copy(module)
    x = torch.randn(2, 3)
    torch.testing.assert_close(copied(x), module(x))
    assert copied.tied is copied.a
    assert copied.layers[0] is copied.a
    assert copied.a is not module.a
    assert copied.half_.weight.dtype == torch.float32
    assert copied.double_.weight.dtype == torch.float64
    assert not copied.training
    assert module.training
    assert module.half_.weight.dtype == torch.float16
    assert all(p.requires_grad for p in module.parameters())
    with torch.no_grad():
        copied.a.weight.zero_()
    assert module.a.weight.abs().sum() > 0


def test_hooks_that_close_over_the_module_write_into_the_copy() -> None:
    class Hooked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.seen: Any = None

            def remember(layer: Any, args: Any, output: Any) -> None:
                self.seen = output

            self.layer.register_forward_hook(remember)

        def forward(self, x: Any) -> Any:
            self.layer(x)
            return self.seen * 2

    module = Hooked()
    copied = private_copy(module)
    x = torch.randn(3, 2)
    torch.testing.assert_close(copied(x), module.layer(x) * 2)
    module.seen = None
    copied(x)
    assert module.seen is None


def test_compiled_parts_lose_their_wrapper() -> None:
    module = nn.Sequential(torch.compile(nn.Linear(2, 2)))
    copied = private_copy(module)
    assert list(state(copied)) == ["0.weight", "0.bias"]
    load(copied, module.state_dict())
    torch.testing.assert_close(copied[0].weight, module[0]._orig_mod.weight)


def test_weights_that_do_not_fit() -> None:
    with pytest.raises(WeightsError, match="do not fit Linear"):
        load(private_copy(nn.Linear(2, 2)), nn.Linear(3, 3).state_dict())


class Custom:
    def __init__(self) -> None:
        self.ran = False

    def __reduce__(self) -> Any:
        return pathlib.Path.touch, (pathlib.Path("ran-what-stood-in-the-checkpoint"),)


def test_checkpoint_with_any_hyperparameters_is_read_and_nothing_of_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = {"w": torch.arange(3.0), "half": torch.ones(2, dtype=torch.bfloat16), "p": nn.Parameter(torch.zeros(1))}
    odd = {"path": Path("x"), "space": argparse.Namespace(a=1), "score": np.float64(1), "evil": Custom(), "type": Odd}
    torch.save({"state_dict": weights, "hyper_parameters": odd, "epoch": 3}, tmp_path / "a.ckpt")
    content = read_checkpoint(str(tmp_path / "a.ckpt"))
    assert content["epoch"] == 3
    assert all(torch.equal(content["state_dict"][k], v) for k, v in weights.items())
    assert not (tmp_path / "ran-what-stood-in-the-checkpoint").exists()


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_text("text")
    with pytest.raises(WeightsError, match=r"'a.ckpt' cannot be read"):
        read_checkpoint(str(tmp_path / "a.ckpt"))
    torch.save({"epoch": 1}, tmp_path / "b.ckpt")
    with pytest.raises(WeightsError, match="holds no state_dict"):
        read_checkpoint(str(tmp_path / "b.ckpt"))


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


def test_scripted_part(tmp_path: Path) -> None:
    module = nn.Sequential(torch.jit.script(nn.Linear(3, 4)), nn.ReLU()).eval()
    made = lightning_onnx.export(module, torch.randn(2, 3), directory=tmp_path / "x")
    x = torch.randn(5, 3)
    with torch.no_grad():
        np.testing.assert_allclose(outside.run(made.model_path, input=x)[0], module(x), atol=1e-5)


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
