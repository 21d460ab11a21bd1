"""An artifact is read as it was written; a damaged one is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import lightning_onnx
from lightning_onnx import ArtifactError, ONNXArtifact


@pytest.fixture
def artifact(tmp_path: Path) -> ONNXArtifact:
    return lightning_onnx.export(torch.nn.Linear(4, 2), torch.randn(3, 4), directory=tmp_path / "linear")


@pytest.mark.slow
def test_round_trip_in_a_process_without_torch(artifact: ONNXArtifact) -> None:
    assert ONNXArtifact.load(artifact.directory).manifest == artifact.manifest
    code = (
        "import sys, onnxruntime, numpy, pathlib\n"
        f"s = onnxruntime.InferenceSession({str(artifact.model_path)!r})\n"
        "print(s.run(None, {'input': numpy.zeros((5, 4), 'f')})[0].shape, 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "(5, 2) False"


def test_altered_files_are_found(artifact: ONNXArtifact) -> None:
    content = bytearray(artifact.model_path.read_bytes())
    content[-1] ^= 1
    artifact.model_path.write_bytes(bytes(content))
    with pytest.raises(ArtifactError, match=r"model\.onnx is"):
        ONNXArtifact.load(artifact.directory)


def test_missing_files_are_found(artifact: ONNXArtifact) -> None:
    (artifact.directory / "report.html").unlink()
    with pytest.raises(ArtifactError, match=r"report\.html is missing"):
        ONNXArtifact.load(artifact.directory)


def test_not_an_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is not an artifact: it has no manifest\.json\. Give the directory"):
        ONNXArtifact.load(tmp_path)
    with pytest.raises(ArtifactError, match=r"missing is not an artifact: there is no such directory\. Give"):
        ONNXArtifact.load(tmp_path / "missing")
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"file is not an artifact: there is no such directory\. Give"):
        ONNXArtifact.load(tmp_path / "file")
    (tmp_path / "manifest.json").write_text(json.dumps({"format_version": 99}))
    with pytest.raises(ArtifactError, match="format_version 99"):
        ONNXArtifact.load(tmp_path)


@pytest.mark.parametrize(
    "manifest",
    [[], "text", {"format_version": 1}, {"format_version": 1, "model": {"file": "model.onnx"}, "files": ["a"]}],
)
def test_manifests_of_another_form(manifest: object, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="Export again"):
        ONNXArtifact.load(tmp_path)


def test_existing_directory_is_unchanged(artifact: ONNXArtifact) -> None:
    with pytest.raises(ArtifactError, match="exists"):
        lightning_onnx.export(torch.nn.Linear(4, 2), torch.randn(3, 4), directory=artifact.directory)
    ONNXArtifact.load(artifact.directory)


def test_report_escapes_user_text(tmp_path: Path) -> None:
    made = lightning_onnx.export(
        torch.nn.Linear(4, 2), torch.randn(3, 4), directory=tmp_path / "x", output_names=["<script>alert(1)<script>"]
    )
    page = (made.directory / "report.html").read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in made.report.markdown()
    assert made.report.text().count("passed") >= 1
