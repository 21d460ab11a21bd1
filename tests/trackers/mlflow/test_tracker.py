from __future__ import annotations

import dataclasses
import gc
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pytest
import torch
from lightning.pytorch.loggers import MLFlowLogger
from mlflow import MlflowClient

import lightning_onnx
from lightning_onnx import ONNXArtifact
from lightning_onnx.runtimes.worker import client
from lightning_onnx.trackers import publish
from lightning_onnx.trackers.mlflow.model import input_example, model_signature
from tests.trackers.training import assert_read_back, scalars_of, train

pytestmark = pytest.mark.slow

HOSTILE = ["latest", "best", "epoch=3", "a/b:c", "v3", "Ω\n", "x" * 300]


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables; creating them takes seconds."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """The logger sets the address for the whole process; the client's threads end when it is collected."""
    yield
    mlflow.set_tracking_uri(None)
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("Mlflow"):
            thread.join(timeout=5)


@pytest.fixture
def sqlite(tmp_path: Path, empty_store: Path) -> str:
    shutil.copy(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def logger(sqlite: str, tmp_path: Path) -> MLFlowLogger:
    return MLFlowLogger(tracking_uri=sqlite, artifact_location=(tmp_path / "store").as_uri())


@pytest.fixture
def server(tmp_path: Path, sqlite: str) -> Iterator[str]:
    """`mlflow server`, as users run it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--backend-store-uri", sqlite, "--artifacts-destination", str(tmp_path / "store"), "--workers", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *options],
        cwd=tmp_path,
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # a dozen more processes
        stdout=(tmp_path / "server.log").open("w"),
        stderr=subprocess.STDOUT,
    )
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=1).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (tmp_path / "server.log").read_text()
                time.sleep(0.25)
        else:
            pytest.fail((tmp_path / "server.log").read_text())
        yield uri
    finally:
        process.terminate()
        process.wait(timeout=30)


def _models(logger: MLFlowLogger, condition: str = "") -> list[Any]:
    return list(logger.experiment.search_logged_models([logger.experiment_id], filter_string=condition or None))


@pytest.mark.slow
@pytest.mark.parametrize("store", ["sqlite", "server"])
def test_best_is_found_after_training(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    uri = request.getfixturevalue(store)
    location = (tmp_path / "store").as_uri() if store == "sqlite" else None
    logger = MLFlowLogger(tracking_uri=uri, artifact_location=location)
    statuses: list[str] = []

    def register(callback: Any, trainer: Any) -> None:
        run = logger.experiment.get_run(logger.run_id)
        statuses.append(run.info.status)
        publish(logger, callback.artifact, ["latest", "best"], trainer.global_step, register_as="classifier")
        statuses.append(logger.experiment.get_run(logger.run_id).info.status)

    trained = train(tmp_path, logger, after=register)
    assert statuses == ["FINISHED", "FINISHED"]
    assert_read_back(trained, tmp_path, "mlflow", uri, "tag")
    assert_read_back(trained, tmp_path, "mlflow", uri, "models:/classifier@best")
    run = MlflowClient(uri).get_run(logger.run_id)
    assert {k: v for k, v in run.data.metrics.items() if k.startswith("onnx/")} == scalars_of(trained)
    history = MlflowClient(uri).get_metric_history(logger.run_id, "onnx/parity_passed")
    assert sorted({metric.step for metric in history}) == [3, trained.step]  # one for each checkpoint
    listed = [f.path for f in MlflowClient(uri).list_artifacts(logger.run_id, f"onnx/{trained.name}")]
    assert f"onnx/{trained.name}/report.html" in listed
    mlflow.set_tracking_uri(uri)
    _assert_loads(trained)


def _assert_loads(trained: Any) -> None:
    """With both of MLflow's functions to load a model."""
    loaded = mlflow.pyfunc.load_model("models:/classifier@best")
    (output,) = loaded.predict({"features": trained.inputs}).values()
    np.testing.assert_allclose(output, trained.outputs, rtol=1e-4, atol=1e-5)
    proto = mlflow.onnx.load_model("models:/classifier@best")
    assert [value.name for value in proto.graph.input] == ["features"]
    assert "features" in mlflow.models.Model.load("models:/classifier@best").signature.inputs.input_names()
    assert loaded.input_example["features"].dtype == np.float32


def test_the_run_continues(logger: MLFlowLogger, artifact: ONNXArtifact) -> None:
    publish(logger, artifact, ["best"], 3, register_as="model")
    run = logger.experiment.get_run(logger.run_id)
    assert run.info.status == "RUNNING"
    assert mlflow.active_run() is None
    (output,) = run.outputs.model_outputs
    assert output.step == 3
    logger.log_metrics({"loss": 1.0}, step=4)


def test_alias_tag_moves_to_the_next_best(logger: MLFlowLogger, artifact: ONNXArtifact) -> None:
    for step in (1, 2):
        publish(logger, artifact, ["latest", "best"], step)
    publish(logger, artifact, ["latest"], 3)
    models = sorted(_models(logger), key=lambda model: model.creation_timestamp)
    aliases = [{key: value for key, value in model.tags.items() if key.startswith("alias.")} for model in models]
    assert aliases == [{}, {"alias.best": "true"}, {"alias.latest": "true"}]
    assert {str(model.status) for model in models} == {"READY"}


def test_params_come_from_the_manifest(logger: MLFlowLogger, artifact: ONNXArtifact) -> None:
    publish(logger, artifact, [], 1)
    (model,) = _models(logger, "params.parity = 'passed'")
    assert model.params["opset"] == "20"
    assert model.params["sha256"] == artifact.manifest["model"]["sha256"]
    assert model.params["signature"] == str(artifact.signature)
    assert model.source_run_id == logger.run_id
    assert not {"paths", "traced_shapes", *artifact.record.scalars} & set(model.params)


def test_a_model_has_its_figures_as_metrics_and_its_verdict_as_description(
    logger: MLFlowLogger, artifact: ONNXArtifact
) -> None:
    publish(logger, artifact, [], 7)
    (model,) = _models(logger)
    assert {metric.key: (metric.value, metric.step) for metric in model.metrics} == {
        name: (pytest.approx(value), 7) for name, value in artifact.scalars().items()
    }
    assert model.tags["mlflow.note.content"].startswith(f"**{artifact.report.summary}**")


def test_nothing_is_registered_without_register_as(logger: MLFlowLogger, artifact: ONNXArtifact) -> None:
    publish(logger, artifact, ["best"], 1)
    assert not logger.experiment.search_registered_models()


def test_hostile_names_are_made_valid(logger: MLFlowLogger, artifact: ONNXArtifact, tmp_path: Path) -> None:
    directory = tmp_path / "va\"l's.loss=0.5%: a"
    shutil.copytree(artifact.directory, directory)
    publish(logger, ONNXArtifact.load(directory), HOSTILE, 4, register_as="my/model: new")
    publish(logger, artifact, ["best"], 5, register_as="my/model: new")
    (registered,) = logger.experiment.search_registered_models()
    assert registered.name == "my-model- new"
    expected = dict.fromkeys(("epoch-3", "a-b-c", "alias-v3", "onnx", "x" * 200), "1")
    assert {alias: str(version) for alias, version in registered.aliases.items()} == {**expected, "best": "2"}
    models = _models(logger)
    assert sorted(model.tags["artifact"] for model in models) == ["epoch=2-step=9", directory.name]
    assert {model.name for model in models} == {artifact.record.source.module}


def test_external_data_is_kept_byte_for_byte(logger: MLFlowLogger, artifact: ONNXArtifact, tmp_path: Path) -> None:
    directory = tmp_path / "split"
    shutil.copytree(artifact.directory, directory)
    proto = onnx.load(directory / "model.onnx")
    onnx.save(proto, directory / "model.onnx", save_as_external_data=True, location="model.onnx.data", size_threshold=0)
    split = ONNXArtifact(directory, artifact.manifest)
    publish(logger, split, ["best"], 1, register_as="split")
    digests = {path.name: hashlib.sha256(path.read_bytes()).digest() for path in directory.glob("model.onnx*")}
    assert len(digests) == 2
    shutil.rmtree(directory)
    found = Path(mlflow.artifacts.download_artifacts("models:/split@best"))
    assert digests == {path.name: hashlib.sha256(path.read_bytes()).digest() for path in found.glob("model.onnx*")}
    example = {name: np.asarray(value, np.float32) for name, value in input_example(artifact).items()}
    whole = client.hosted("onnxruntime").load(artifact.model_path).run(example)
    (output,) = mlflow.pyfunc.load_model("models:/split@best").predict(example).values()
    np.testing.assert_allclose(output, whole["logits"], rtol=1e-5, atol=1e-6)


def test_failed_upload_is_marked_and_raised(
    logger: MLFlowLogger, artifact: ONNXArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(MlflowClient, "log_model_artifacts", fail)
    with pytest.raises(OSError, match="disk is full"):
        publish(logger, artifact, ["best"], 1)
    (model,) = _models(logger)
    assert (str(model.status), "alias.best" in model.tags) == ("FAILED", False)


def test_signature_has_names_dtypes_and_free_dims(artifact: ONNXArtifact) -> None:
    (spec,) = model_signature(artifact).inputs
    assert (spec.name, spec.type, spec.shape) == ("image", np.dtype(np.float32), (-1, 3, 8, 8))
    (spec,) = model_signature(artifact).outputs
    assert (spec.name, spec.shape) == ("logits", (-1, 8, 2))


def test_no_signature_for_dtypes_that_mlflow_lacks(artifact: ONNXArtifact) -> None:
    inputs = [{**artifact.manifest["inputs"][0], "dtype": "bfloat16"}]
    assert model_signature(dataclasses.replace(artifact, manifest={**artifact.manifest, "inputs": inputs})) is None


def test_no_input_example_without_test_data(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 2)
    made = lightning_onnx.export(module, torch.zeros(1, 2), directory=tmp_path / "bare", test_data=None)
    assert input_example(made) == {}


def test_no_input_example_that_no_page_can_show(tmp_path: Path) -> None:
    made = lightning_onnx.export(torch.nn.Flatten(), torch.randn(1, 2**20 + 1), directory=tmp_path / "large")
    assert (made.directory / "test_data_set_0").is_dir()
    assert input_example(made) == {}
