"""An artifact with a failed check, as the commands treat it."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest

from lightning_onnx import ArtifactError, ONNXArtifact
from lightning_onnx.cli import main
from lightning_onnx.cli.verdict import check_deployable

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def failed(artifact: ONNXArtifact, tmp_path: Path) -> Path:
    """A copy of an artifact whose manifest has one more check, which failed."""
    directory = tmp_path / "failed"
    shutil.copytree(artifact.directory, directory)
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["checks"].append({"name": "bad", "status": "failed", "reason": "too slow", "figures": {}})
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def test_check_fails(failed: Path, artifact: ONNXArtifact, capsys: Captured) -> None:
    assert main.main(["check", str(failed)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("passed   onnxruntime")
    assert lines[1] == "failed   the export's own checks: bad failed"
    assert main.main(["check", str(failed), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["failed_checks"] == ["bad"]
    assert main.main(["check", str(failed / "model.onnx")]) == 0  # a file on its own
    assert main.main(["check", str(artifact.directory), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2])["failed_checks"] == []


def test_triton_refuses(failed: Path, tmp_path: Path, capsys: Captured) -> None:
    command = ["triton", str(failed), str(tmp_path / "models"), "--max-batch-size", "4"]
    assert main.main(command) == 1
    assert "the export's own checks: bad failed" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()
    assert main.main([*command, "--even-if-failed"]) == 0
    assert "triton: do not deploy: the export's own checks: bad failed" in capsys.readouterr().err
    assert (tmp_path / "models" / "linear" / "1" / "model.onnx").is_file()


def test_push_refuses_before_it_asks_the_hub(failed: Path, capsys: Captured) -> None:
    assert main.main(["push", str(failed), "user/net"]) == 1
    assert "has failed checks" in capsys.readouterr().err


def test_snippet_says_so(failed: Path, artifact: ONNXArtifact, capsys: Captured) -> None:
    for language in ("python", "javascript"):
        assert main.main(["snippet", str(failed), "--language", language]) == 0
        assert capsys.readouterr().err == (
            "lightning-onnx snippet: do not deploy: the export's own checks: bad failed\n"
        )
    assert main.main(["snippet", str(artifact.directory)]) == 0
    assert capsys.readouterr().err == ""


def test_of_several_methods_the_name_has_the_method(failed: Path) -> None:
    record = ONNXArtifact.load(failed).record
    other = type(record).from_dict({**record.to_dict(), "source": {**record.source.to_dict(), "method": "decode"}})
    arguments = argparse.Namespace(path=failed, command="triton", even_if_failed=False)
    with pytest.raises(ArtifactError, match="forward: bad, decode: bad failed"):
        check_deployable(arguments, type(record).joined([record, other]))
