"""A run uploads its best artifact to the Hub; what goes wrong there is told before training, or costs no training."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_onnx import ConfigurationError, Hub, MetricParity, ONNXArtifact, ONNXExport, Parity
from tests.deploy.hub_server import Hub as Server
from tests.deploy.hub_server import Repository
from tests.models import Classifier

NAME = "user/net"


def metadata_of(repository: Repository) -> Any:
    from huggingface_hub import ModelCard

    return ModelCard(repository.files["README.md"].decode()).data


@pytest.mark.slow
def test_the_best_artifact_is_one_commit(fit: Any, hub: Server, tmp_path: Path) -> None:
    callback = ONNXExport(
        tmp_path / "onnx",
        when="checkpoint",
        checks=[Parity(), MetricParity()],
        hub=Hub(NAME, pipeline_tag="image-classification"),
    )
    saving = ModelCheckpoint(tmp_path / "saved", monitor="val_loss", save_top_k=2)
    fit(Classifier(), saving, callback, max_epochs=2)
    found = hub.repositories[NAME]
    assert callback.failures == []
    assert callback.artifact is not None
    assert [summary for summary, _ in found.commits] == [f"ONNX model {callback.artifact.name}"]
    assert found.files["model.onnx"] == callback.artifact.model_path.read_bytes()
    card = metadata_of(found)
    assert (card.library_name, card.pipeline_tag) == ("onnx", "image-classification")
    metrics = {result.metric_type: result.metric_value for result in card.eval_results}
    assert metrics["val_loss"] == pytest.approx(float(saving.best_model_score), rel=1e-3)
    text = found.files["README.md"].decode()
    for part in (
        "Safe to deploy",
        "snapshot_download('user/net'",
        "onnxruntime.InferenceSession",
        "| parity | passed |",
    ):
        assert part in text


@pytest.mark.slow
def test_all_artifacts_have_folders(fit: Any, hub: Server, tmp_path: Path) -> None:
    callback = ONNXExport(tmp_path / "onnx", when="checkpoint", log_artifacts="all", hub=NAME)
    fit(Classifier(), ModelCheckpoint(tmp_path / "saved", monitor="val_loss", save_top_k=2), callback, max_epochs=2)
    names = {artifact.name for artifact in callback.artifacts}
    found = hub.repositories[NAME].files
    assert {path.split("/")[1] for path in found if path.startswith("checkpoints/")} == names
    assert callback.artifact is not None
    assert found["model.onnx"] == found[f"checkpoints/{callback.artifact.name}/model.onnx"]


@pytest.mark.slow
def test_a_failed_upload_is_a_warning_with_the_command(fit: Any, hub: Server, tmp_path: Path) -> None:
    hub.failing = (f"/api/models/{NAME}/commit/main",)
    callback = ONNXExport(tmp_path / "onnx", hub=Hub(NAME, private=False))
    trainer = fit(Classifier(), callback)
    assert trainer.state.finished
    assert isinstance(callback.artifact, ONNXArtifact)
    (failure,) = callback.failures
    assert failure.endswith(f"Try again: lightning-onnx push {callback.artifact.directory} {NAME} --public")


def test_without_the_right_nothing_is_trained(
    trainer: Any, hub: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_reads")
    module = Classifier()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    made = trainer(ONNXExport(tmp_path / "onnx", hub=NAME))
    with pytest.raises(ConfigurationError, match="cannot be written with this token"):
        made.fit(module, module.batches())
    assert all(torch.equal(before[name], tensor) for name, tensor in module.state_dict().items())
    assert hub.repositories == {}


@pytest.mark.slow
def test_fast_dev_run_uploads_nothing(trainer: Any, hub: Server) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = Classifier()
        trainer(ONNXExport(hub=NAME, preflight=False, on_failure="warn"), fast_dev_run=True).fit(
            module, module.batches()
        )
    assert hub.requests == []
