"""An artifact in a model repository of Triton: what Triton would load is there, and gives the module's answers."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from lightning_onnx import ArtifactError, ConfigurationError, ONNXArtifact, scratch
from lightning_onnx.cli import main
from lightning_onnx.deploy.triton import add_to_repository
from lightning_onnx.manifest.contract import Contract, OutputContract
from tests.deploy.triton_protobuf import parsed


def test_the_command(exported: ONNXArtifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main.main(["triton", str(exported.directory), str(tmp_path / "models"), "--max-batch-size", "4"]) == 0
    text = capsys.readouterr().out
    assert "version 1\nup to 4 rows in a batch\nwarmed up with the test data" in text
    model = tmp_path / "models" / "linear"
    found = sorted(path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file())
    assert found == ["1/model.onnx", "config.pbtxt", "warmup/input_0"]
    assert (model / "1" / "model.onnx").read_bytes() == exported.model_path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models"]  # nothing of the staging is left
    row = np.frombuffer((model / "warmup" / "input_0").read_bytes(), np.float32).reshape(1, 4)
    (output,) = onnxruntime.InferenceSession(model / "1" / "model.onnx").run(None, {"input": row})
    assert np.isfinite(output).all()
    assert "data_type: TYPE_FP32 dims: [4] input_data_file" in (model / "config.pbtxt").read_text()


def test_the_command_warns_if_the_limit_is_the_batch_of_the_sample(
    exported: ONNXArtifact, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["triton", str(exported.directory), str(tmp_path / "models")]
    assert main.main(command) == 0
    told = capsys.readouterr()
    assert "up to 3 rows in a batch" in told.out
    assert "the limit of 3 comes from the sample: give --max-batch-size" in told.err
    assert main.main([*command, "--max-batch-size", "3"]) == 0
    told = capsys.readouterr()
    assert "linear, version 1 is there already, with the same sha256" in told.out
    assert told.err == ""


def retrained(artifact: ONNXArtifact, directory: Path) -> ONNXArtifact:
    """A copy whose model file has other bytes."""
    shutil.copytree(artifact.directory, directory)
    model = onnx.load(artifact.model_path)
    model.doc_string = "another epoch"
    onnx.save(model, directory / "model.onnx")
    return ONNXArtifact(directory, artifact.manifest)


def test_an_artifact_with_another_model_is_a_new_version(exported: ONNXArtifact, tmp_path: Path) -> None:
    other, models = retrained(exported, tmp_path / "other"), tmp_path / "models"
    steps = [(exported, 2), (exported, 4), (other, 4), (exported, 4)]
    found = [add_to_repository(artifact, models, "net", size) for artifact, size in steps]
    assert [(model.version, model.is_new) for model in found] == [(1, True), (1, False), (2, True), (3, True)]
    assert "max_batch_size: 4\n" in (models / "net" / "config.pbtxt").read_text()
    files = ["1", "2", "3", "config.pbtxt", "warmup"]
    assert sorted(path.name for path in (models / "net").iterdir()) == files
    with pytest.raises(ConfigurationError, match=r"batching is on in .*net\. Turning it off changes the .*--name"):
        add_to_repository(exported, models, "net", max_batch_size=0)
    assert sorted(path.name for path in (models / "net").iterdir()) == files
    add_to_repository(exported, models, "alone", max_batch_size=0)
    with pytest.raises(ConfigurationError, match=r"batching is off in .*alone\. Turning it on changes the dims"):
        add_to_repository(exported, models, "alone")


def with_outputs(artifact: ONNXArtifact, *names: str, classes: tuple[str, ...] = ()) -> ONNXArtifact:
    """The artifact as if it had outputs of these names, and class names for the first."""
    outputs = tuple(dataclasses.replace(artifact.signature.outputs[0], name=name) for name in names)
    signature = dataclasses.replace(artifact.signature, outputs=outputs)
    contract = Contract(outputs={names[0]: OutputContract(classes, "scores", 1)}) if classes else None
    record = dataclasses.replace(artifact.record, signature=signature, contract=contract)
    return ONNXArtifact(artifact.directory, record.to_dict())


@pytest.mark.parametrize("names", [("scores",), ("output",), ("output", "features", "more"), ("features", "output")])
@pytest.mark.parametrize("classes", [(), ("cat", "dog")])
def test_other_outputs_are_not_put_over_a_model(
    names: tuple[str, ...], classes: tuple[str, ...], exported: ONNXArtifact, tmp_path: Path
) -> None:
    add_to_repository(with_outputs(exported, "output", "features", classes=classes), tmp_path, "net")
    with pytest.raises(ConfigurationError, match="has other inputs or outputs, on which"):
        add_to_repository(with_outputs(exported, *names), tmp_path, "net")


@pytest.mark.parametrize(("before", "after"), [((), ("cat", "dog")), (("cat", "dog"), ()), (("a", "b"), ("c", "d"))])
def test_class_names_are_no_part_of_the_signature(
    before: tuple[str, ...], after: tuple[str, ...], exported: ONNXArtifact, tmp_path: Path
) -> None:
    add_to_repository(with_outputs(exported, "output", "features", classes=before), tmp_path, "net")
    model = add_to_repository(with_outputs(exported, "output", "features", classes=after), tmp_path, "net").directory
    assert ("label_filename" in (model / "config.pbtxt").read_text()) == bool(after)
    if after:
        assert (model / "labels_0.txt").read_text().split() == list(after)


def paths_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("name", ["rename", "mkdir"])
def test_the_repository_is_a_mounted_disk(
    name: str, exported: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The directory above it is on another disk, or not writable."""
    repository = tmp_path / "models"
    repository.mkdir()
    original = getattr(Path, name)

    def refused(path: Path, *arguments: Any, **options: Any) -> Any:
        if not path.is_relative_to(repository):
            raise OSError(errno.EXDEV, "cross-device link") if name == "rename" else PermissionError(errno.EACCES, "no")
        return original(path, *arguments, **options)

    monkeypatch.setattr(Path, name, refused)
    files = ["1", "1/model.onnx", "config.pbtxt", "warmup", "warmup/input_0"]
    model = add_to_repository(exported, repository, "net")
    assert (paths_below(model.directory), model.version, model.is_new) == (files, 1, True)
    assert paths_below(tmp_path)[:2] == ["models", "models/net"]
    assert not add_to_repository(exported, repository, "net").is_new
    assert paths_below(model.directory) == files


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="no mounted disk that is known to be writable")
def test_a_mounted_disk_itself(exported: ONNXArtifact) -> None:
    disk = Path("/dev/shm")
    model = add_to_repository(exported, disk, f"net-{uuid.uuid4().hex}").directory
    try:
        assert paths_below(model) == ["1", "1/model.onnx", "config.pbtxt", "warmup", "warmup/input_0"]
    finally:
        shutil.rmtree(model)
    assert not list(disk.parent.glob(".onnx-staging-*"))


def test_what_a_killed_process_left_is_removed(exported: ONNXArtifact, tmp_path: Path) -> None:
    left = tmp_path / "net" / f".onnx-staging-{scratch.machine()}-1_0"
    left.mkdir(parents=True)
    add_to_repository(exported, tmp_path, "net")
    assert sorted(path.name for path in (tmp_path / "net").iterdir()) == ["1", "config.pbtxt", "warmup"]


def test_nothing_is_left_of_a_model_that_cannot_be_written(
    exported: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "the disk is full")

    monkeypatch.setattr(shutil, "copyfile", full)
    (tmp_path / "models" / "net").mkdir(parents=True)
    with pytest.raises(ArtifactError, match=r"cannot be written: .*the disk is full"):
        add_to_repository(exported, tmp_path / "models", "net")
    assert paths_below(tmp_path) == ["models"]


def test_what_is_no_model_is_not_overwritten(exported: ONNXArtifact, tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="Choose another name"):
        add_to_repository(exported, tmp_path, "net")
    assert [path.name for path in (tmp_path / "net").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b"])
def test_names_that_are_no_names(name: str, exported: ONNXArtifact, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not a valid name for a model"):
        add_to_repository(exported, tmp_path / "models", name)
    assert not (tmp_path / "models").exists()


def test_without_test_data_there_is_no_warmup(exported: ONNXArtifact, tmp_path: Path) -> None:
    shutil.copytree(exported.directory, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "test_data_set_0")
    added = add_to_repository(ONNXArtifact(tmp_path / "copy", exported.manifest), tmp_path / "models")
    assert not added.warmed
    assert "model_warmup" not in (added.directory / "config.pbtxt").read_text()


def test_weights_beside_the_model_are_copied(exported: ONNXArtifact, tmp_path: Path) -> None:
    shutil.copytree(exported.directory, tmp_path / "copy")
    (tmp_path / "copy" / "model.onnx.data").write_bytes(b"weights")
    record = exported.record
    files = {**record.files, "model.onnx.data": record.files["model.onnx"]}
    manifest = dataclasses.replace(record, files=files).to_dict()
    added = add_to_repository(ONNXArtifact(tmp_path / "copy", manifest), tmp_path / "models")
    assert (added.directory / "1" / "model.onnx.data").read_bytes() == b"weights"


def test_class_names_are_labels(exported: ONNXArtifact, tmp_path: Path) -> None:
    contract = Contract(outputs={"output": OutputContract(("a cat", "dog\nor wolf"), "scores", 1)})
    artifact = ONNXArtifact(exported.directory, dataclasses.replace(exported.record, contract=contract).to_dict())
    model = add_to_repository(artifact, tmp_path).directory
    assert (model / "labels_0.txt").read_text() == "a cat\ndog or wolf\n"
    assert 'label_filename: "labels_0.txt"' in (model / "config.pbtxt").read_text()
    three = Contract(outputs={"output": OutputContract(("a", "b", "c"), "scores", 1)})
    other = ONNXArtifact(exported.directory, dataclasses.replace(exported.record, contract=three).to_dict())
    assert "label" not in (add_to_repository(other, tmp_path, "other").directory / "config.pbtxt").read_text()


@pytest.mark.slow
def test_triton_reads_the_configuration(exported: ONNXArtifact, tmp_path: Path) -> None:
    model = add_to_repository(exported, tmp_path).directory
    found = parsed((model / "config.pbtxt").read_text())
    session = onnxruntime.InferenceSession(model / "1" / "model.onnx")
    assert found.name == model.name == "linear"
    assert [(i.name, list(i.dims)) for i in found.input] == [(i.name, i.shape[1:]) for i in session.get_inputs()]
    assert [(o.name, list(o.dims)) for o in found.output] == [(o.name, o.shape[1:]) for o in session.get_outputs()]
    assert found.max_batch_size == 3
    for request in found.model_warmup:
        (key,) = request.inputs
        values = (model / "warmup" / request.inputs[key].input_data_file).read_bytes()
        row = np.frombuffer(values, np.float32).reshape(list(request.inputs[key].dims))
        (output,) = session.run(None, {key: np.stack([row] * request.batch_size)})
        assert output.shape == (request.batch_size, 2)
