"""``when="checkpoint"``: each kept checkpoint has an artifact with its own weights, and there are no others."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, WeightAveraging
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.io import AsyncCheckpointIO

from lightning_onnx import ConfigurationError, ONNXArtifact, ONNXExport
from lightning_onnx.training.checkpoint_follower import CheckpointFollower
from tests import models, outside

pytestmark = pytest.mark.slow


def outputs_of(path: Any, x: torch.Tensor, key: str = "state_dict") -> np.ndarray[Any, Any]:
    """The outputs with a checkpoint's weights, read only with torch."""
    with fsspec.open(str(path), "rb") as file:
        content = torch.load(file, weights_only=True)
    module = models.Classifier()
    module.load_state_dict(content[key])
    module.eval()
    with torch.no_grad():
        return module(x).numpy()


def assert_each_has_its_artifact(checkpoints: Path, artifacts: Path) -> list[str]:
    """Compare both directories; return the names."""
    names = sorted(p.name.removesuffix(".ckpt") for p in checkpoints.iterdir())
    assert sorted(p.name for p in artifacts.iterdir() if p.name != "index.json") == names
    x = torch.randn(3, 6)
    for name in names:
        artifact = ONNXArtifact.load(artifacts / name)
        assert artifact.proven
        assert artifact.manifest["source"]["checkpoint"] == f"{name}.ckpt"
        (got,) = outside.run(artifact.model_path, x=x)
        np.testing.assert_allclose(got, outputs_of(checkpoints / f"{name}.ckpt", x), atol=1e-5)
    return names


def marked(artifacts: Path) -> list[str]:
    entries = json.loads((artifacts / "index.json").read_text())["artifacts"]
    assert sorted(e["directory"] for e in entries) == sorted(
        p.name for p in artifacts.iterdir() if p.name != "index.json"
    )
    return [e["directory"] for e in entries if e["best"]]


TRIGGERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "validation": ({"monitor": "val_loss", "save_top_k": 2}, {}),
    "every_checkpoint": ({"monitor": "val_loss", "save_top_k": -1}, {}),
    "no_monitor": ({}, {}),
    "no_monitor_all": ({"save_top_k": -1}, {}),
    "steps": ({"every_n_train_steps": 1, "save_top_k": -1}, {}),
    "steps_latest": ({"every_n_train_steps": 1}, {}),
    "epochs": ({"every_n_epochs": 2, "save_top_k": -1}, {"max_epochs": 4}),
    "time": ({"train_time_interval": timedelta(0), "save_top_k": -1}, {}),
    "last": ({"monitor": "val_loss", "save_last": True}, {}),
    "last_link": ({"monitor": "val_loss", "save_last": "link"}, {}),
    "only_last": ({"save_top_k": 0, "save_last": True}, {}),
    "fixed_name": ({"filename": "model", "enable_version_counter": False}, {}),
    "fixed_name_and_last": ({"filename": "model", "monitor": "val_loss", "save_last": True}, {}),
    "weights_only": ({"monitor": "val_loss", "save_weights_only": True}, {}),
    "end_of_training_epoch": ({"monitor": "train", "save_on_train_epoch_end": True}, {}),
    "several_validations": ({"monitor": "val_loss", "save_top_k": -1}, {"val_check_interval": 1}),
    "in_place": ({"monitor": "val_loss", "save_top_k": 2}, {"background": False}),
}


class Logs(models.Classifier):
    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        loss = super().training_step(batch, batch_idx)
        self.log("train", loss, on_epoch=True, on_step=False)
        return loss


@pytest.mark.parametrize("name", TRIGGERS)
def test_triggers(name: str, fit: Any, tmp_path: Path) -> None:
    settings, options = TRIGGERS[name]
    options = {"max_epochs": 3, **options}
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint", background=options.pop("background", True))
    checkpoint = ModelCheckpoint(tmp_path / "ck", **settings)
    fit(Logs(), callback, checkpoint, **options)
    assert callback.failures == []
    names = assert_each_has_its_artifact(tmp_path / "ck", tmp_path / "onnx")
    assert sorted(a.name for a in callback.artifacts) == names
    assert callback.artifact is not None
    best = Path(checkpoint.best_model_path or checkpoint.last_model_path).stem
    assert callback.artifact.name == best
    assert marked(tmp_path / "onnx") == ([best] if checkpoint.best_model_path else [])


def test_names_by_template(fit: Any, tmp_path: Path) -> None:
    callback = ONNXExport(tmp_path / "onnx", "{epoch}-{val_loss:.3f}", when="checkpoint")
    checkpoint = ModelCheckpoint(tmp_path / "ck", monitor="val_loss", save_top_k=-1)
    fit(models.Classifier(), callback, checkpoint, max_epochs=2)
    scores = [float(s) for s in checkpoint.best_k_models.values()]
    assert [a.name for a in callback.artifacts] == [f"epoch={i}-val_loss={s:.3f}" for i, s in enumerate(scores)]


def test_asynchronous_checkpoints(fit: Any, tmp_path: Path) -> None:
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint")
    checkpoint = ModelCheckpoint(tmp_path / "ck", monitor="val_loss", save_top_k=2, save_last=True)
    fit(models.Classifier(), callback, checkpoint, max_epochs=4, plugins=[AsyncCheckpointIO()])
    assert callback.failures == []
    assert_each_has_its_artifact(tmp_path / "ck", tmp_path / "onnx")


def test_two_callbacks_follow_two_checkpoint_callbacks(fit: Any, tmp_path: Path) -> None:
    lowest = ModelCheckpoint(tmp_path / "low", monitor="val_loss")
    every = ModelCheckpoint(tmp_path / "all", monitor="train", save_top_k=-1, filename="{epoch}")
    callbacks = [
        ONNXExport(tmp_path / "onnx_low", when="checkpoint", checkpoint=lowest),
        ONNXExport(tmp_path / "onnx_all", when="checkpoint", checkpoint=every),
    ]
    fit(Logs(), *callbacks, lowest, every, max_epochs=3)
    assert_each_has_its_artifact(tmp_path / "low", tmp_path / "onnx_low")
    assert len(assert_each_has_its_artifact(tmp_path / "all", tmp_path / "onnx_all")) == 3


def test_two_callbacks_share_a_directory(fit: Any, tmp_path: Path) -> None:
    checkpoint = ModelCheckpoint(tmp_path / "ck", monitor="val_loss")
    first, second = (ONNXExport(tmp_path / "onnx", when="checkpoint", opset_version=v) for v in (18, 20))
    fit(models.Classifier(), first, second, checkpoint, max_epochs=3)
    assert first.artifact is not None
    assert second.artifact is not None
    assert {outside.opset(a.model_path) for a in (first.artifact, second.artifact)} == {18, 20}
    assert sorted(marked(tmp_path / "onnx")) == sorted([first.artifact.name, second.artifact.name])


def test_without_a_checkpoint_to_follow(fit: Any) -> None:
    with pytest.raises(ConfigurationError, match="the Trainer has none"):
        fit(models.Classifier(), ONNXExport(when="checkpoint"))


def test_nothing_saved_exports_the_live_weights(fit: Any, tmp_path: Path) -> None:
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint")
    fit(models.Classifier(), callback, ModelCheckpoint(tmp_path / "ck", every_n_train_steps=1000))
    assert callback.artifact is not None
    assert callback.artifact.manifest["source"]["weights"] == "live"


def test_weights_come_from_the_file(fit: Any, tmp_path: Path) -> None:
    """By then, the module may have been trained further, or have other weights."""

    class Changes(models.Classifier):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.current_epoch:  # after the first checkpoint and before any look of a callback at the module
                torch.nn.init.constant_(self.net[0].bias, 7.0)

    callback = ONNXExport(tmp_path / "onnx", when="checkpoint")
    fit(Changes(), callback, ModelCheckpoint(tmp_path / "ck", save_top_k=-1), max_epochs=2)
    assert_each_has_its_artifact(tmp_path / "ck", tmp_path / "onnx")


def test_changed_attribute_is_traced_again(fit: Any, tmp_path: Path) -> None:
    class Anneals(models.Classifier):
        factor = 1.0

        def on_train_epoch_start(self) -> None:
            self.factor = 1.0 + self.current_epoch

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * self.factor

    callback = ONNXExport(tmp_path / "onnx", when="checkpoint")
    fit(Anneals(), callback, ModelCheckpoint(tmp_path / "ck", save_top_k=-1), max_epochs=3)
    assert [a.proven for a in callback.artifacts] == [True] * 3
    x = torch.randn(2, 6)
    for number, artifact in enumerate(callback.artifacts, 1):
        (got,) = outside.run(artifact.model_path, x=x)
        want = outputs_of(tmp_path / "ck" / f"{artifact.name}.ckpt", x) * number
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_size_seen_later_is_supported(trainer: Any, tmp_path: Path) -> None:
    short, long = (
        [{"ids": torch.randint(0, 9, (4, n)), "mask": torch.ones(4, n, dtype=torch.bool)} for _ in range(2)]
        for n in (5, 8)
    )

    class Grows(models.Tokens):
        def train_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(long if self.current_epoch else short, batch_size=None)

        def val_dataloader(self) -> Any:
            return torch.utils.data.DataLoader(short, batch_size=None)

    callback = ONNXExport(tmp_path / "onnx", when="checkpoint")
    checkpoint = ModelCheckpoint(tmp_path / "ck", save_top_k=-1)
    trainer(callback, checkpoint, max_epochs=2, reload_dataloaders_every_n_epochs=1).fit(Grows())
    first, second = (outside.shapes(a.model_path)["ids"] for a in callback.artifacts)
    assert first == ["batch", 5]
    assert isinstance(second[1], str)


def test_numbers_are_logged_at_the_step_of_each_checkpoint(fit: Any, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path / "csv")
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint")
    fit(models.Classifier(), callback, ModelCheckpoint(tmp_path / "ck", save_top_k=-1), max_epochs=3, logger=logger)
    rows = np.genfromtxt(Path(logger.log_dir) / "metrics.csv", delimiter=",", names=True, dtype=None, encoding=None)
    steps = [int(r["step"]) for r in rows if r["onnxparity_passed"] == 1]
    assert steps == [a.manifest["source"]["global_step"] for a in callback.artifacts] == [2, 4, 6]
    assert [p.name for p in (Path(logger.log_dir) / "onnx").iterdir()] == [callback.artifact.name]


def test_loggers_get_all_artifacts_on_request(fit: Any, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path / "csv")
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint", log_artifacts="all")
    fit(models.Classifier(), callback, ModelCheckpoint(tmp_path / "ck"), max_epochs=3, logger=logger)
    assert len(callback.artifacts) == 1
    assert len(list((Path(logger.log_dir) / "onnx").iterdir())) == 3  # the tracker's copies outlive ours


@pytest.mark.parametrize("averaging", [WeightAveraging, EMAWeightAveraging])
@pytest.mark.parametrize("weights_only", [False, True])
def test_averages_are_exported(averaging: Any, weights_only: bool, fit: Any, tmp_path: Path) -> None:
    class Reference(ModelCheckpoint):
        """Keeps the averages as they are when a checkpoint is saved."""

        seen: dict[str, Any] = {}  # noqa: RUF012

        def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
            super()._save_checkpoint(trainer, filepath)
            average = next(c for c in trainer.callbacks if isinstance(c, WeightAveraging))._average_model
            self.seen[Path(filepath).stem] = {k: v.clone() for k, v in average.module.state_dict().items()}

    callback = ONNXExport(tmp_path / "onnx", when="checkpoint")
    checkpoint = Reference(tmp_path / "ck", monitor="val_loss", save_top_k=-1, save_weights_only=weights_only)
    fit(models.Classifier(), averaging(), callback, checkpoint, max_epochs=3)
    assert callback.failures == []
    assert len(callback.artifacts) == 3
    x = torch.randn(4, 6)
    for artifact in callback.artifacts:
        module = models.Classifier()
        module.load_state_dict(checkpoint.seen[artifact.name])
        module.eval()
        (got,) = outside.run(artifact.model_path, x=x)
        np.testing.assert_allclose(got, module(x).detach().numpy(), atol=1e-5)


def test_best_checkpoint_without_averages_warns_at_fit_end(trainer: Any, tmp_path: Path) -> None:
    callback = ONNXExport(tmp_path / "onnx")
    checkpoint = ModelCheckpoint(tmp_path / "ck", monitor="val_loss", save_weights_only=True)
    module = models.Classifier()
    with pytest.warns(UserWarning, match="raw weights"):
        trainer(callback, WeightAveraging(), checkpoint).fit(module, module.batches(), module.batches())
    assert callback.artifact is not None


def test_interrupted_and_resumed(fit: Any, tmp_path: Path) -> None:
    class Stops(models.Classifier):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch == 2:
                raise RuntimeError("stopped")

    def checkpoint() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path / "ck", monitor="val_loss", save_top_k=-1, save_last=True)

    first = ONNXExport(tmp_path / "onnx", when="checkpoint")
    with pytest.raises(RuntimeError, match="stopped"):
        fit(Stops(), first, checkpoint(), max_epochs=4)
    before = {a.name: a.manifest["files"] for a in first.artifacts}
    assert len(before) == 3

    second = ONNXExport(tmp_path / "onnx", when="checkpoint")
    fit(models.Classifier(), second, checkpoint(), max_epochs=4, ckpt_path=tmp_path / "ck" / "last.ckpt")
    assert second.failures == []
    names = assert_each_has_its_artifact(tmp_path / "ck", tmp_path / "onnx")
    assert len(names) == 5
    after = {a.name: a.manifest["files"] for a in second.artifacts}
    assert {n: after[n] for n in before if n != "last"} == {n: before[n] for n in before if n != "last"}


def test_resuming_a_finished_run_makes_nothing_twice(fit: Any, tmp_path: Path) -> None:
    for when in ("checkpoint", "fit_end"):
        place = tmp_path / when
        for path in (None, place / "ck" / "last.ckpt"):
            callback = ONNXExport(place / "onnx", when=when)
            checkpoint = ModelCheckpoint(place / "ck", monitor="val_loss", save_last=True)
            fit(models.Classifier(), callback, checkpoint, max_epochs=2, ckpt_path=path)
            assert callback.failures == []
            assert callback.artifact is not None
        found = sorted(p.name for p in (place / "onnx").iterdir() if p.name != "index.json")
        assert found == (["epoch=1-step=4", "last"] if when == "checkpoint" else ["epoch=1-step=4"])


def test_missing_artifact_is_made_on_resuming(fit: Any, tmp_path: Path) -> None:
    """The checkpoint was saved, and the run ended before its artifact was."""
    fit(models.Classifier(), ModelCheckpoint(tmp_path / "ck", monitor="val_loss", save_last=True), max_epochs=1)
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint")
    checkpoint = ModelCheckpoint(tmp_path / "ck", monitor="val_loss", save_last=True, save_top_k=-1)
    fit(models.Classifier(), callback, checkpoint, max_epochs=2, ckpt_path=tmp_path / "ck" / "last.ckpt")
    assert_each_has_its_artifact(tmp_path / "ck", tmp_path / "onnx")


@pytest.mark.parametrize("when", ["checkpoint", "fit_end"])
def test_remote_directories(when: str, fit: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    system = fsspec.filesystem("memory")
    if system.exists("/run"):
        system.rm("/run", recursive=True)
    callback = ONNXExport("memory://run/onnx", when=when)
    checkpoint = ModelCheckpoint("memory://run/ck", monitor="val_loss", save_top_k=1, save_last=True)
    with caplog.at_level("INFO"):
        fit(models.Classifier(), callback, checkpoint, max_epochs=3)
    assert callback.failures == []
    assert callback.artifact is not None
    name = Path(checkpoint.best_model_path).stem
    assert f"ONNX export: memory://run/onnx/{name}" in caplog.messages
    assert f"next: copy memory://run/onnx/{name} to a disk" in caplog.text
    assert str(callback.artifact.directory.parent) not in caplog.text  # it ends with the run
    expected = {name, "last"} if when == "checkpoint" else {name}
    assert {p.split("/")[3] for p in system.glob("/run/onnx/*/manifest.json")} == expected
    system.get("/run/onnx/" + name, str(tmp_path / "got"), recursive=True)
    got = ONNXArtifact.load(tmp_path / "got")
    x = torch.randn(3, 6)
    want = outputs_of(checkpoint.best_model_path, x)
    np.testing.assert_allclose(outside.run(got.model_path, x=x)[0], want, atol=1e-5)
    index = json.loads(system.cat("/run/onnx/index.json"))["artifacts"]
    assert [e["directory"] for e in index if e["best"]] == [name]


def test_follower_reads_fields_that_lightning_has() -> None:
    """Only two private fields show that a file was written again; this test fails if Lightning renames them."""
    assert {"_last_global_step_saved", "_last_checkpoint_saved"} <= set(vars(ModelCheckpoint()))
    assert CheckpointFollower(ModelCheckpoint()).has_changed()
