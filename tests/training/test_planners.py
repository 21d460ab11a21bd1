"""Several methods of a module in training: one artifact of each checkpoint, with a file for each method."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from torch import Tensor
from torchvision.transforms import Normalize

from lightning_onnx import ConfigurationError, ONNXArtifact, ONNXExport
from lightning_onnx.module.calls.observer import ForwardObserver
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.pipeline.methods import configs_of
from lightning_onnx.training.planners import Planners
from tests import models, outside

BOTH = ["encode", "decode"]


class Scaled(models.VAE):
    """Decodes with a setting, which the graph of decode holds."""

    scale = 2.0

    def decode(self, z: Tensor) -> Tensor:
        return super().decode(z) * self.scale


@dataclasses.dataclass
class Run:
    """A run that was resumed once."""

    root: Path
    module: models.VAE
    first: list[ONNXArtifact]
    callback: ONNXExport
    checkpoint: ModelCheckpoint

    @property
    def best(self) -> ONNXArtifact:
        assert self.callback.artifact is not None
        return self.callback.artifact


def fitted(root: Path, epochs: int, callback: ONNXExport, **options: Any) -> tuple[models.VAE, ModelCheckpoint]:
    torch.manual_seed(0)
    module = models.VAE()
    checkpoint = ModelCheckpoint(root / "ck", monitor="val_loss", save_top_k=2, save_last=True)
    trainer = Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        callbacks=[checkpoint, callback],
        logger=[CSVLogger(root, "csv", 0), TensorBoardLogger(str(root), "tb", 0)],
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, module.batches(), module.batches(), **options)
    return module, checkpoint


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("run")

    def callback() -> ONNXExport:
        return ONNXExport(root / "onnx", method=BOTH, when="checkpoint", output_names={"decode": ["image"]})

    first = callback()
    fitted(root, 2, first)
    made = first.artifacts
    last = callback()
    module, checkpoint = fitted(root, 3, last, ckpt_path=root / "ck" / "last.ckpt", weights_only=False)
    return Run(root, module, made, last, checkpoint)


@pytest.mark.slow
def test_the_best_checkpoint_has_both_files(run: Run) -> None:
    assert run.callback.failures == []
    assert run.best.record.source.checkpoint == Path(run.checkpoint.best_model_path).name
    assert run.best.proven
    module = models.VAE().eval()
    module.load_state_dict(torch.load(run.checkpoint.best_model_path, weights_only=False)["state_dict"])
    x, z = torch.randn(5, 6), torch.randn(7, 2)
    with torch.no_grad():
        expected = module.encode(x)["mean"]
        np.testing.assert_allclose(outside.run(run.best.directory / "encode.onnx", x=x)[0], expected, atol=1e-5)
        decoded = outside.run(run.best.directory / "decode.onnx", z=z)[0]
        np.testing.assert_allclose(decoded, module.decode(z), atol=1e-5)
    assert outside.shapes(run.best.directory / "decode.onnx") == {"z": ["batch", 2], "image": ["batch", 6]}


@pytest.mark.slow
def test_a_resumed_run_keeps_its_artifacts(run: Run) -> None:
    kept = {artifact.name: artifact for artifact in run.callback.artifacts}
    for artifact in run.first:
        if artifact.name in kept and artifact.record.source.checkpoint != "last.ckpt":
            assert kept[artifact.name].manifest == artifact.manifest
    assert {artifact.methods for artifact in kept.values()} == {("encode", "decode")}
    index = json.loads((run.root / "onnx" / "index.json").read_text(encoding="utf-8"))["artifacts"]
    assert {entry["directory"] for entry in index} == set(kept)


@pytest.mark.slow
def test_trackers_have_one_entry_with_all_files(run: Run) -> None:
    (filed,) = (run.root / "csv" / "version_0" / "onnx").iterdir()
    assert ONNXArtifact.load(filed).methods == ("encode", "decode")
    numbers = (run.root / "csv" / "version_0" / "metrics.csv").read_text(encoding="utf-8").partition("\n")[0].split(",")
    assert {"onnx/parity_passed", "onnx/encode/parity_passed", "onnx/decode/max_abs_diff"} <= set(numbers)
    graphs = sorted(path.name for path in (run.root / "tb" / "version_0").glob("onnx_graph*"))
    assert graphs == ["onnx_graph_decode", "onnx_graph_encode"]


def test_a_method_that_does_not_exist_ends_the_run_before_training(trainer: Any, tmp_path: Path) -> None:
    module = models.VAE()
    with pytest.raises(ConfigurationError, match="decoded"):
        trainer(ONNXExport(tmp_path, method=["encode", "decoded"])).fit(module, module.batches())


def test_its_state_is_that_of_its_methods() -> None:
    keys = [ONNXExport(method=method).state_key for method in ("encode", ["encode"], BOTH)]
    assert keys[0] == keys[1] != keys[2]


class Watched:
    """Planners of a module that was called once, and the stages that they announced."""

    def __init__(self, module: Any, methods: Sequence[str] = BOTH, **options: Any) -> None:
        self.module, self.stages = module.eval(), list[str]()
        self.observers = [ForwardObserver(module, method) for method in methods]
        self.planners = Planners(configs_of(methods, **options), self.observers)

    def call(self) -> None:
        for observer in self.observers:
            observer.attach()
        self.module.decode(self.module.encode(torch.randn(3, 6))["mean"])
        for observer in self.observers:
            observer.detach()

    def current(self) -> Any:
        self.stages.clear()
        return self.planners.current(self.module, private_copy(self.module), self.stages.append)


@pytest.mark.slow
def test_only_a_method_that_changed_is_traced_again() -> None:
    watched = Watched(Scaled())
    assert not watched.planners.has_calls
    watched.call()
    assert watched.planners.has_calls
    assert watched.planners.plans is None
    encode, decode = watched.current()
    assert watched.stages == ["tracing", "tracing"]
    assert watched.planners.plans == (encode, decode)
    assert watched.planners.run_concurrently(watched.module, private_copy(watched.module))
    watched.module.scale = 3.0
    assert not watched.planners.run_concurrently(watched.module, private_copy(watched.module))
    now = watched.current()
    assert watched.stages == ["tracing"]
    assert now[0].graph is encode.graph
    assert now[1].graph is not decode.graph


def test_a_sample_of_one_method_and_calls_of_the_other() -> None:
    watched = Watched(models.VAE(), sample={"decode": torch.zeros(2, 2)})
    assert not watched.planners.has_calls
    watched.observers[0].attach()
    watched.module.encode(torch.zeros(2, 6))
    watched.observers[0].detach()
    assert watched.planners.has_calls
    assert not watched.planners.were_called
    assert str(watched.planners) == "encode and decode"


class Broken(models.VAE):
    """A decoder that training destroys."""

    def on_train_end(self) -> None:
        self.decoder.weight.data.fill_(torch.nan)


@pytest.mark.slow
def test_an_artifact_with_a_wrong_method_is_not_published(trainer: Any, tmp_path: Path) -> None:
    module = Broken()
    callback = ONNXExport(tmp_path / "onnx", method=BOTH)
    with pytest.warns(UserWarning, match="decode: parity failed"):
        trainer(callback, logger=CSVLogger(tmp_path, "csv", 0)).fit(module, module.batches(), module.batches())
    assert callback.artifact is not None
    assert callback.artifact.method("encode").proven
    assert not callback.artifact.proven
    assert any("decode: parity failed" in failure for failure in callback.failures)
    assert not (tmp_path / "csv" / "version_0" / "onnx").exists()
    shutil.rmtree(tmp_path / "onnx")


class Pictures(torch.utils.data.Dataset[tuple[Tensor]]):
    """Data with a transform; the steps are the caller's, but only before ``encode``."""

    def __init__(self) -> None:
        self.transform = Normalize([0.5], [0.5])

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[Tensor]:
        return (self.transform(torch.full((1, 2, 3), index / 8)).flatten(),)


@pytest.mark.slow
def test_what_comes_before_a_method_that_gets_no_batches_is_left_to_nobody(trainer: Any, tmp_path: Path) -> None:
    export = ONNXExport(tmp_path / "onnx", method=BOTH, weights="live")
    loader = torch.utils.data.DataLoader(Pictures(), 4)
    trainer(export).fit(models.VAE(), loader, loader)
    assert export.artifact is not None
    record = export.artifact.record.by_method
    steps = {method: own.contract.caller_steps for method, own in record.items()}
    assert [len(found) for found in steps.values()] == [1, 0]
    assert "normalize with mean" in steps["encode"][0]
