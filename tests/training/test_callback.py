"""The callback in a real Trainer; its artifacts are checked with other tools."""

from __future__ import annotations

import copy
import json
import os
import pickle
import shutil
import subprocess
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as lp
import numpy as np
import onnx
import pytest
import pytorch_lightning as old
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_onnx import ConfigurationError, EngineError, ONNXArtifact, ONNXExport, SampleError
from lightning_onnx.runtimes.worker.client import HostedSession
from lightning_onnx.training import progress
from tests import models, outside


def reference(module: Any, *args: Any, **kwargs: Any) -> Any:
    module.eval()
    with torch.no_grad():
        return module(*args, **kwargs)


def test_defaults(fit: Any, tmp_path: Path) -> None:
    module, callback = models.Classifier(), ONNXExport()
    fit(module, callback)
    artifact = callback.artifact
    assert artifact is not None
    assert artifact.directory == tmp_path / "onnx" / "epoch=0-step=2"
    assert outside.shapes(artifact.model_path) == {"x": ["batch", 6], "output": ["batch", 3]}
    assert outside.opset(artifact.model_path) == 20
    for rows in (1, 2, 7):
        x = torch.randn(rows, 6)
        (y,) = outside.run(artifact.model_path, x=x)
        np.testing.assert_allclose(y, reference(module, x), atol=1e-5)
    assert sorted(p.name for p in artifact.directory.iterdir()) == [
        "manifest.json", "model.onnx", "report.html", "report.md", "test_data_set_0",
    ]  # fmt: skip
    assert callback.failures == []
    assert ONNXArtifact.load(artifact.directory) == artifact


def test_best_weights_are_exported_not_the_last(fit: Any, tmp_path: Path) -> None:
    class Worsens(models.Classifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])
            self.log("score", float(self.current_epoch == 1))

    module = Worsens()
    checkpoint = ModelCheckpoint(tmp_path / "ckpt", monitor="score", mode="max")
    callback = ONNXExport()
    fit(module, callback, checkpoint, max_epochs=3)
    assert callback.artifact is not None
    assert callback.artifact.name == "epoch=1-step=4"
    source = callback.artifact.manifest["source"]
    assert (source["weights"], source["epoch"], source["monitor"], source["score"]) == ("best", 1, "score", 1.0)
    x = torch.randn(5, 6)
    (y,) = outside.run(callback.artifact.model_path, x=x)
    best = Worsens.load_from_checkpoint(checkpoint.best_model_path)
    np.testing.assert_allclose(y, reference(best, x), atol=1e-5)
    assert np.abs(y - reference(module, x).numpy()).max() > 1e-3
    stored = {p.key: p.value for p in onnx.load(callback.artifact.model_path).metadata_props}
    assert stored["lightning_onnx.checkpoint"] == "epoch=1-step=4.ckpt"
    assert stored["lightning_onnx.score"] == "1.0"


@pytest.mark.slow
def test_live_weights_on_request(fit: Any, tmp_path: Path) -> None:
    module, callback = models.Classifier(), ONNXExport(weights="live")
    fit(module, callback, ModelCheckpoint(tmp_path, monitor="val_loss"), max_epochs=2)
    assert callback.artifact is not None
    assert callback.artifact.manifest["source"]["weights"] == "live"
    assert callback.artifact.manifest["source"]["epoch"] == 1


def test_module_comes_back_as_it_was(fit: Any) -> None:
    module = models.Classifier()
    module.net[1].eval()  # a frozen BatchNorm
    module.net[0].weight.requires_grad_(False)
    torch.manual_seed(7)
    fit(module, ONNXExport())
    after = torch.rand(1)
    torch.manual_seed(7)
    plain = models.Classifier()
    plain.load_state_dict(module.state_dict())
    assert "forward" not in module.__dict__
    assert not module.net[0].weight.requires_grad
    torch.manual_seed(7)
    other = models.Classifier()
    other.net[0].weight.requires_grad_(False)
    torch.manual_seed(7)
    fit(other)
    assert torch.equal(after, torch.rand(1)), "the export drew from the run's random numbers"


def test_training_is_the_same_with_and_without(fit: Any) -> None:
    states = []
    for callbacks in ((), (ONNXExport(),)):
        torch.manual_seed(3)
        module = models.Classifier()
        fit(module, *callbacks, max_epochs=2)
        states.append(module.state_dict())
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


@pytest.mark.slow
def test_parameters_equal_at_initialisation(fit: Any) -> None:
    module, callback = models.EqualAtInit(), ONNXExport()
    fit(module, callback)
    assert callback.artifact is not None
    assert callback.artifact.passed
    assert not torch.equal(module.a.bias, module.b.bias)
    x = torch.randn(3, 6)
    np.testing.assert_allclose(outside.run(callback.artifact.model_path, x=x)[0], reference(module, x), atol=1e-4)


@pytest.mark.slow
def test_variable_length_mask_and_named_tuple(fit: Any) -> None:
    module, callback = models.Tokens(), ONNXExport()
    fit(module, callback)
    assert callback.artifact is not None
    assert outside.shapes(callback.artifact.model_path) == {
        "ids": ["batch", "ids_dim_1"], "mask": ["batch", "ids_dim_1"], "logits": ["batch", 3],
        "embedding": ["batch", 8],
    }  # fmt: skip
    ids, mask = torch.randint(0, 20, (2, 13)), torch.rand(2, 13) > 0.5
    logits, embedding = outside.run(callback.artifact.model_path, ids=ids, mask=mask)
    expected = reference(module, ids, mask)
    np.testing.assert_allclose(logits, expected.logits, atol=1e-5)
    np.testing.assert_allclose(embedding, expected.embedding, atol=1e-5)


@pytest.mark.slow
def test_forward_that_is_never_called(fit: Any) -> None:
    module, callback = models.NeverCallsForward(), ONNXExport()
    fit(module, callback)
    assert callback.artifact is not None
    assert callback.artifact.manifest["source"]["sample"] == "the batch matched to the method's signature"
    x = torch.randn(3, 6)
    np.testing.assert_allclose(outside.run(callback.artifact.model_path, x=x)[0], reference(module, x), atol=1e-5)


@pytest.mark.slow
def test_example_input_array(fit: Any) -> None:
    module, callback = models.NeverCallsForward(), ONNXExport()
    module.example_input_array = torch.randn(1, 6)
    fit(module, callback)
    assert callback.artifact is not None
    assert callback.artifact.manifest["source"]["sample"] == "example_input_array"
    assert outside.shapes(callback.artifact.model_path)["x"] == ["batch", 6]


@pytest.mark.slow
def test_names_opset_and_axes_are_as_requested(fit: Any) -> None:
    callback = ONNXExport(
        input_names=["input"], output_names=["logits"], opset_version=18, dynamic_axes={"input": {0: "batch_axes"}},
        filename="{epoch}-{val_loss:.1f}", metadata={"labels": "a,b,c"},
    )  # fmt: skip
    fit(models.Classifier(), callback)
    assert callback.artifact is not None
    path = callback.artifact.model_path
    assert outside.shapes(path) == {"input": ["batch_axes", 6], "logits": ["batch_axes", 3]}
    assert outside.opset(path) == 18
    assert callback.artifact.name.startswith("epoch=0-val_loss=")
    assert {p.key: p.value for p in onnx.load(path).metadata_props}["labels"] == "a,b,c"


@pytest.mark.slow
def test_all_dims_static_on_request(fit: Any) -> None:
    callback = ONNXExport(dynamic_axes=None)
    fit(models.Classifier(), callback)
    assert callback.artifact is not None
    assert outside.shapes(callback.artifact.model_path) == {"x": [4, 6], "output": [4, 3]}


@pytest.mark.slow
def test_files_hold_nothing_private(fit: Any) -> None:
    callback = ONNXExport()
    fit(models.Classifier(), callback)
    assert callback.artifact is not None
    import getpass
    import socket

    for path in callback.artifact.directory.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            for private in (os.getcwd(), str(Path(torch.__file__).parent), socket.gethostname(), "models.py", "/home"):
                assert private.encode() not in content, (path.name, private)
            assert getpass.getuser() == "root" or getpass.getuser().encode() not in content
    text = subprocess.run(["strings", str(callback.artifact.model_path)], capture_output=True, text=True).stdout
    assert not [line for line in text.splitlines() if line.startswith("/") or "site-packages" in line]


@pytest.mark.slow
def test_observed_values_are_not_stored(fit: Any) -> None:
    module, callback = models.Classifier(), ONNXExport()
    fit(module, callback)
    assert callback.artifact is not None
    stored = onnx.numpy_helper.to_array(
        onnx.load_tensor(str(callback.artifact.directory / "test_data_set_0" / "input_0.pb"))
    )
    seen = np.concatenate([batch[0].numpy() for batch in module.batches()])
    assert not np.isin(stored, seen).any() or np.isin(stored, [seen.min(), seen.max()])[np.isin(stored, seen)].all()


@pytest.mark.slow
def test_test_data_is_right(fit: Any) -> None:
    callback = ONNXExport()
    fit(models.Tokens(), callback)
    assert callback.artifact is not None
    folder = callback.artifact.directory / "test_data_set_0"
    read = lambda name: onnx.numpy_helper.to_array(onnx.load_tensor(str(folder / name)))  # noqa: E731
    outputs = outside.run(callback.artifact.model_path, ids=read("input_0.pb"), mask=read("input_1.pb"))
    np.testing.assert_allclose(outputs[0], read("output_0.pb"), atol=1e-5)


def test_a_checkpoint_to_follow_that_the_trainer_lacks(fit: Any, tmp_path: Path) -> None:
    followed = ModelCheckpoint(tmp_path / "other", monitor="val_loss")
    with pytest.raises(ConfigurationError, match="checkpoint= is not one of the Trainer's callbacks"):
        fit(models.Classifier(), ONNXExport(checkpoint=followed), ModelCheckpoint(tmp_path / "ck"))


@pytest.mark.slow
def test_weights_from_before_training_are_told(trainer: Any, tmp_path: Path) -> None:
    callback, module = ONNXExport(tmp_path / "onnx"), models.Classifier()
    with pytest.warns(UserWarning, match="no batch was trained, so the file has the weights from before training"):
        trainer(callback, limit_train_batches=0).fit(module, module.batches(), module.batches())
    assert callback.artifact is not None
    assert callback.artifact.record.source.weights == "untrained"
    assert "Not trained" in str(callback.artifact)


@pytest.mark.slow
def test_each_kept_checkpoint_has_its_artifact(fit: Any, tmp_path: Path) -> None:
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint")
    checkpoint = ModelCheckpoint(tmp_path / "ck", monitor="val_loss", save_top_k=2, save_last=True)
    fit(models.Classifier(), callback, checkpoint, max_epochs=4)
    assert callback.failures == []
    names = sorted(p.stem for p in (tmp_path / "ck").iterdir())
    assert sorted(p.name for p in (tmp_path / "onnx").iterdir()) == sorted([*names, "index.json"])
    assert callback.artifact is not None
    assert callback.artifact.name == Path(checkpoint.best_model_path).stem
    x = torch.randn(3, 6)
    for artifact in callback.artifacts:
        module = models.Classifier()
        module.load_state_dict(torch.load(tmp_path / "ck" / f"{artifact.name}.ckpt", weights_only=True)["state_dict"])
        np.testing.assert_allclose(outside.run(artifact.model_path, x=x)[0], reference(module, x), atol=1e-5)


@pytest.mark.slow
def test_same_weights_same_bytes(fit: Any, tmp_path: Path) -> None:
    digests = []
    for _ in range(2):
        torch.manual_seed(0)
        callback = ONNXExport(tmp_path / "same")
        fit(models.Classifier(), callback)
        assert callback.artifact is not None
        digests.append(callback.artifact.manifest["model"]["sha256"])
    assert digests[0] == digests[1]
    assert sorted(p.name for p in (tmp_path / "same").iterdir()) == [
        "epoch=0-step=2", "epoch=0-step=2-v1", "index.json",
    ]  # fmt: skip


@pytest.mark.slow
def test_loggers(fit: Any, tmp_path: Path) -> None:
    callback = ONNXExport()
    loggers = [TensorBoardLogger(tmp_path / "tb"), CSVLogger(tmp_path / "csv")]
    fit(models.Classifier(), callback, logger=loggers)
    assert callback.artifact is not None
    assert callback.artifact.directory.parent == tmp_path / "tb" / "lightning_logs" / "version_0" / "onnx"
    copied = ONNXArtifact.load(Path(loggers[1].log_dir) / "onnx" / callback.artifact.name)
    assert copied.manifest == callback.artifact.manifest
    assert "onnx/parity_passed" in (Path(loggers[1].log_dir) / "metrics.csv").read_text()
    assert callback.failures == []


@pytest.mark.slow
def test_fast_dev_run_exports_and_publishes_nothing(fit: Any, tmp_path: Path) -> None:
    callback = ONNXExport()
    fit(models.Classifier(), callback, fast_dev_run=True, logger=CSVLogger(tmp_path / "csv"))
    assert callback.artifact is not None
    assert callback.artifact.passed
    assert tmp_path not in callback.artifact.directory.parents
    assert not list(tmp_path.rglob("*.onnx"))


@pytest.mark.slow
@pytest.mark.parametrize("package", [lp, old], ids=["lightning.pytorch", "pytorch_lightning"])
def test_both_packages_of_lightning(package: Any, fit: Any, tmp_path: Path) -> None:
    class Module(package.LightningModule):
        __init__ = models.Classifier.__init__
        forward, batches, call = models.Classifier.forward, models.Classifier.batches, models.Base.call
        training_step, configure_optimizers = models.Base.training_step, models.Base.configure_optimizers
        validation_step, validation_loss, lr = models.Validated.validation_step, True, 0.1

    Module.__init__ = lambda self: (
        package.LightningModule.__init__(self),
        setattr(self, "net", models.Classifier().net),
    )[0]
    checkpoint = package.callbacks.ModelCheckpoint(tmp_path / "ckpt", monitor="val_loss")
    callback = ONNXExport()
    logger = package.loggers.CSVLogger(tmp_path / "csv")
    fit(Module(), callback, checkpoint, package=package.Trainer, logger=logger)
    assert callback.failures == []
    assert callback.artifact is not None
    assert callback.artifact.manifest["source"]["weights"] == "best"
    assert "onnx/parity_passed" in (Path(logger.log_dir) / "metrics.csv").read_text()


def test_module_that_cannot_be_exported_stops_before_training(fit: Any) -> None:
    module = models.CannotExport()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    with pytest.raises(EngineError, match="eig") as caught:
        fit(module, ONNXExport(engine="torchscript"))
    assert caught.value.__cause__ is not None
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


@pytest.mark.slow
def test_preflight_can_warn_and_training_continues(fit: Any) -> None:
    module, callback = models.CannotExport(), ONNXExport(preflight="warn")
    trainer = fit(module, callback)
    assert trainer.global_step == 2
    assert callback.artifact is None
    assert len(callback.failures) == 2
    assert "eig" in callback.failures[0]


@pytest.mark.slow
def test_failure_after_training_warns_and_is_recorded(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    callback = ONNXExport()
    module = models.Classifier()
    monkeypatch.setattr(models.Classifier, "on_train_end", lambda self: _make_unwritable(callback), raising=False)
    trainer = fit(module, callback)
    assert trainer.state.finished
    assert callback.artifact is None
    assert "cannot be written" in callback.failures[0]


def _make_unwritable(callback: ONNXExport) -> None:
    assert callback._exporter is not None
    shutil.rmtree(callback._exporter.store.local)
    callback._exporter.store.local.write_text("a file where the directory was")


@pytest.mark.slow
def test_failure_after_training_raises_on_request(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    callback = ONNXExport(on_failure="raise")
    monkeypatch.setattr(models.Classifier, "on_train_end", lambda self: _make_unwritable(callback), raising=False)
    with pytest.raises(Exception, match="cannot be written"):
        fit(models.Classifier(), callback)


@pytest.mark.slow
def test_artifact_with_failed_parity_is_kept_marked_and_never_best(
    fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback, logger = ONNXExport(tmp_path / "onnx"), CSVLogger(tmp_path / "csv")
    original = HostedSession.begin

    def wrong(self: Any, inputs: Any) -> Any:
        outputs = original(self, inputs)
        return lambda: {name: value + 1 for name, value in outputs().items()}

    monkeypatch.setattr(
        models.Classifier,
        "on_train_end",
        lambda self: monkeypatch.setattr(HostedSession, "begin", wrong),
        raising=False,
    )
    trainer = fit(models.Classifier(), callback, logger=logger)
    assert trainer.state.finished
    assert any("outside the tolerance" in f for f in callback.failures)
    assert callback.artifact is not None
    assert callback.artifacts == [callback.artifact]
    assert not callback.artifact.passed
    (check,) = ONNXArtifact.load(callback.artifact.directory).manifest["checks"]
    assert check["status"] == "failed"
    assert not list(Path(logger.log_dir).rglob("*.onnx"))


@pytest.mark.slow
def test_random_module_is_reported_as_random_before_the_end_and_in_the_check(trainer: Any) -> None:
    callback, told, module = ONNXExport(), [], models.Random()

    class Ends(lp.Callback):
        def on_train_epoch_end(self, trainer: lp.Trainer, pl_module: lp.LightningModule) -> None:
            told.extend(str(warning.message) for warning in caught)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer(callback, Ends()).fit(module, module.batches())
    assert any("draws random numbers in eval mode" in warning for warning in told)
    assert callback.artifact is not None
    (check,) = callback.artifact.manifest["checks"]
    assert check["status"] == "skipped"
    assert "random" in check["reason"]
    assert callback.artifact.scalars()["onnx/parity_passed"] == 0


def test_the_error_without_a_sample_lists_what_was_tried(fit: Any) -> None:
    class Strange(models.NeverCallsForward):
        def forward(self, x: Any, geometry: Any) -> Any:
            raise ValueError("geometry is needed")

    with pytest.raises(SampleError, match=r"geometry is needed.*sample=\(...\)"):
        fit(Strange(), ONNXExport(on_failure="raise"))


@pytest.mark.slow
def test_sample_given(fit: Any) -> None:
    class Two(models.NeverCallsForward):
        def forward(self, x: Any, scale: Any) -> Any:
            return self.head(self.body(x)) * scale

    callback = ONNXExport(sample=(torch.randn(2, 6), torch.ones(2, 1)))
    fit(Two(), callback)
    assert callback.artifact is not None
    assert outside.shapes(callback.artifact.model_path)["scale"] == ["batch", 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_names": ["x", "y"]}, "2 names.*1 inputs"),
        ({"output_names": ["a", "b"]}, "2 names.*1 outputs"),
        ({"dynamic_axes": {"x": {2: "batch"}}}, "axis 2"),
        ({"dynamic_axes": {"image": {0: "batch"}}}, "image"),
        ({"method": "nothing"}, "no such method"),
        ({"method": "net"}, "'net' is a part of Classifier and no method"),
        ({"postprocess": "argmax"}, "postprocess='argmax': Classifier has no such method"),
        ({"sample": (1, 2, 3)}, "has no tensor"),
    ],
)
def test_options_that_do_not_fit_the_module_stop_before_training(options: Any, message: str, fit: Any) -> None:
    module = models.Classifier()
    before = {k: v.clone() for k, v in module.state_dict().items() if "running" not in k and "num" not in k}
    with pytest.raises(ConfigurationError, match=message):
        fit(module, ONNXExport(**options))
    assert all(torch.equal(module.state_dict()[k], v) for k, v in before.items())


def test_unwritable_dirpath_stops_before_training(fit: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match=r"the directory '.*' cannot be written"):
        fit(models.Classifier(), ONNXExport(tmp_path / "file" / "onnx"))


def test_module_without_tensor_arguments(fit: Any) -> None:
    class NoTensors(models.NeverCallsForward):
        def forward(self, mode: str = "a") -> Any:
            return self.head.weight

    module = NoTensors()
    module.call = lambda batch: (module("b"), models.NeverCallsForward.call(module, batch))  # type: ignore[method-assign]
    with pytest.raises(SampleError, match="no tensor among the arguments"):
        fit(module, ONNXExport())


@pytest.mark.slow
def test_two_callbacks_in_one_trainer(fit: Any, tmp_path: Path) -> None:
    first, second = ONNXExport(tmp_path / "a"), ONNXExport(tmp_path / "b", opset_version=18)
    fit(models.Classifier(), first, second)
    assert first.artifact is not None
    assert second.artifact is not None
    assert first.state_key != second.state_key
    assert outside.opset(first.artifact.model_path) == 20
    assert outside.opset(second.artifact.model_path) == 18


@pytest.mark.slow
def test_dim_that_came_to_vary_after_preflight_is_dynamic(fit: Any) -> None:
    class Late(models.Tokens):
        def batches(self) -> Any:
            loader = super().batches()
            loader.dataset.insert(0, loader.dataset[0])
            return loader

    module, callback = Late(), ONNXExport()
    fit(module, callback, num_sanity_val_steps=1)
    assert callback.artifact is not None
    assert outside.shapes(callback.artifact.model_path)["ids"] == ["batch", "ids_dim_1"]


@pytest.mark.slow
def test_attribute_that_changed_after_preflight(fit: Any) -> None:
    class Anneals(models.Classifier):
        temperature = 1.0

        def forward(self, x: Any) -> Any:
            return super().forward(x) / self.temperature

        def on_train_epoch_end(self) -> None:
            self.temperature = 4.0

    module, callback = Anneals(), ONNXExport()
    fit(module, callback)
    assert callback.artifact is not None
    assert callback.artifact.passed
    x = torch.randn(2, 6)
    np.testing.assert_allclose(outside.run(callback.artifact.model_path, x=x)[0], reference(module, x), atol=1e-5)


def test_validate_test_and_predict_do_nothing(trainer: Any, tmp_path: Path) -> None:
    callback = ONNXExport()
    module = models.Classifier()
    trainer(callback).validate(module, module.batches(), verbose=False)
    assert callback.artifact is None
    assert not (tmp_path / "onnx").exists()


@pytest.mark.slow
def test_exception_in_training_exports_on_request(fit: Any) -> None:
    class Breaks(models.Classifier):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 1:
                raise RuntimeError("out of data")
            return super().training_step(batch, batch_idx)

    for asked in (False, True):
        module, callback = Breaks(), ONNXExport(on_exception=asked)
        with pytest.raises(RuntimeError, match="out of data"):
            fit(module, callback)
        assert (callback.artifact is not None) is asked
        assert "forward" not in module.__dict__


@pytest.mark.slow
def test_manifest_is_plain_json(fit: Any) -> None:
    callback = ONNXExport()
    fit(models.Classifier(), callback)
    assert callback.artifact is not None
    manifest = json.loads((callback.artifact.directory / "manifest.json").read_text())
    assert manifest == callback.artifact.manifest
    assert {"format_version", "model", "inputs", "outputs", "source", "checks", "variants", "files", "versions"} <= set(
        manifest
    )
    assert manifest["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 6]}]
    assert manifest["model"]["engine"] == "dynamo"


@pytest.mark.slow
def test_load_hook_of_the_module_is_called(fit: Any, tmp_path: Path) -> None:
    class Centred(models.Classifier):
        mean = 0.0

        def forward(self, x: Any) -> Any:
            return super().forward(x) + self.mean

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])
            self.log("score", float(-self.current_epoch))

        def on_train_epoch_end(self) -> None:
            self.mean += 10

        def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["mean"] = self.mean

        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            self.mean = checkpoint["mean"]

    module, callback = Centred(), ONNXExport()
    checkpoint = ModelCheckpoint(tmp_path / "c", monitor="score", mode="max")
    fit(module, callback, checkpoint, max_epochs=3)
    assert callback.artifact is not None
    assert callback.artifact.passed
    x = torch.randn(2, 6)
    best = Centred.load_from_checkpoint(checkpoint.best_model_path)
    np.testing.assert_allclose(outside.run(callback.artifact.model_path, x=x)[0], reference(best, x), atol=1e-4)


@pytest.mark.slow
def test_without_checks_a_changed_attribute_is_traced_again(fit: Any) -> None:
    class Grows(models.Classifier):
        scale = 1.0

        def forward(self, x: Any) -> Any:
            return super().forward(x) * self.scale

        def on_train_epoch_end(self) -> None:
            self.scale = 5.0

    module, callback = Grows(), ONNXExport(checks=())
    fit(module, callback)
    assert callback.artifact is not None
    x = torch.randn(2, 6)
    np.testing.assert_allclose(outside.run(callback.artifact.model_path, x=x)[0], reference(module, x), atol=1e-4)


@pytest.mark.slow
def test_two_callbacks_leave_no_hook(fit: Any, tmp_path: Path) -> None:
    module = models.Classifier()
    fit(module, ONNXExport(tmp_path / "a", filename="a"), ONNXExport(tmp_path / "b", filename="b"))
    assert "forward" not in module.__dict__


@pytest.mark.slow
def test_a_copy_made_in_training_is_a_copy(fit: Any) -> None:
    import copy

    class Teacher(models.Classifier):
        def on_train_start(self) -> None:
            teacher = copy.deepcopy(self)
            for parameter in teacher.parameters():
                parameter.data.zero_()
            self.seen = float(teacher(torch.ones(2, 6)).abs().max())

    module = Teacher()
    fit(module, ONNXExport())
    assert module.seen == 0


@pytest.mark.slow
def test_batches_that_cannot_be_recorded_do_not_stop_training(fit: Any) -> None:
    class Packs(models.Classifier):
        def call(self, batch: Any) -> Any:
            return self.inner(torch.sparse_coo_tensor(torch.tensor([[0], [0]]), batch[0][:1, 0], (1, 6)), batch[0])

        def inner(self, sparse: Any, x: Any) -> Any:
            return self.forward(x)

    class Cycle:
        def __init__(self, x: Any) -> None:
            self.x = x
            self.me = self

    class Cyclic(models.Classifier):
        def forward(self, node: Any) -> Any:
            return super().forward(node.x)

        def call(self, batch: Any) -> Any:
            return self(Cycle(batch[0]))

    for module in (Packs(), Cyclic()):
        trainer = fit(module, ONNXExport(preflight="warn"))
        assert trainer.global_step == 2


@pytest.mark.slow
def test_file_names_in_a_batch_are_not_structure(fit: Any) -> None:
    class Named(models.Classifier):
        def forward(self, batch: Any) -> Any:
            return super().forward(batch["x"])

        def call(self, batch: Any) -> Any:
            self.number = getattr(self, "number", 0) + 1
            return self({"x": batch[0], "path": [f"{self.number}.png"]})

    callback = ONNXExport()
    fit(Named(), callback)
    assert callback.artifact is not None
    assert outside.shapes(callback.artifact.model_path) == {"batch_x": ["batch", 6], "output": ["batch", 3]}


@pytest.mark.slow
def test_steps_get_the_batch_by_position(fit: Any) -> None:
    class Predicts(models.Classifier):
        def predict_step(self, rows: Any, number: int) -> Any:
            return self(rows[0]).softmax(-1)

    module, callback = Predicts(), ONNXExport(method="predict_step")
    fit(module, callback)
    assert callback.artifact is not None
    assert outside.shapes(callback.artifact.model_path) == {"x": ["batch", 6], "output": ["batch", 3]}


@pytest.mark.slow
def test_score_that_is_not_finite(fit: Any, tmp_path: Path) -> None:
    class Diverges(models.Classifier):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self(batch[0])
            self.log("val_loss", float("nan"))

    callback = ONNXExport()
    fit(Diverges(), callback, ModelCheckpoint(tmp_path / "c", monitor="val_loss"))
    assert callback.artifact is not None
    assert callback.artifact.manifest["source"]["score"] is None
    assert "unknown" in callback.artifact.report.text()


def test_url_of_an_unknown_protocol_is_refused(fit: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be reached.*nowhere"):
        fit(models.Classifier(), ONNXExport("nowhere://bucket/x"))


@pytest.mark.slow
def test_progress_bar_gets_the_stages(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    original = progress.Stages.step
    monkeypatch.setattr(progress.Stages, "step", lambda self, name: (told.append(name), original(self, name))[1])
    fit(models.Classifier(), ONNXExport())
    assert told == ["tracing", "writing the weights", "checking", "writing the report"]


@pytest.mark.slow
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda callback: pickle.loads(pickle.dumps(callback))])
def test_copies_have_the_results_and_can_be_used(fit: Any, copied: Any) -> None:
    """``ddp_spawn`` sends the callback to processes, also in a second fit; some tuners copy it after or in a fit."""

    during: list[ONNXExport] = []

    class Copies(models.Classifier):
        def on_train_epoch_end(self) -> None:
            during.append(copied(callback))

    callback = ONNXExport()
    fit(Copies(), callback)
    assert callback.artifact is not None
    after = copied(callback)
    assert (after.artifact, after.artifacts, after.failures) == (callback.artifact, [callback.artifact], [])
    (copy_of_running,) = during
    assert copy_of_running.artifact is None
    fit(models.Classifier(), copy_of_running)
    assert copy_of_running.artifact is not None


@pytest.mark.slow
def test_a_later_fit_in_other_processes_replaces_the_results(
    fit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``ddp_spawn`` pickles the callback; what its process leaves is newer than what is known here."""
    callback = ONNXExport(tmp_path / "onnx")
    fit(models.Classifier(), callback)
    found = [callback.artifact]
    for epochs in (2, 3):
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 1)
            fit(models.Classifier(), pickle.loads(pickle.dumps(callback)), max_epochs=epochs)
        found.append(callback.artifact)
    assert [artifact and artifact.name for artifact in found] == ["epoch=0-step=2", "epoch=1-step=4", "epoch=2-step=6"]
