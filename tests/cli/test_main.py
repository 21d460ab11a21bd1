"""The program itself: exit codes, usage and help."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

import lightning_onnx
from lightning_onnx import ONNXArtifact
from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.cli import main, snippet

Captured = pytest.CaptureFixture[str]


class Ends:
    """A check with the given status."""

    name = "ends"

    def __init__(self, status: Any) -> None:
        self.status = status

    def __call__(self, context: CheckContext) -> CheckResult:
        return CheckResult("ends", self.status, "a reason")


def make(directory: Path, *checks: Any) -> ONNXArtifact:
    return lightning_onnx.export(torch.nn.Linear(4, 2), torch.randn(3, 4), directory=directory, checks=checks)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ends", "code"), [(["passed"], 0), (["failed"], 1), (["skipped"], 3), (["passed", "skipped"], 0), ([], 0)]
)
def test_exit_codes_of_checks(ends: list[str], code: int, tmp_path: Path, capsys: Captured) -> None:
    checks = [Ends(end) for end in ends]
    for i, check in enumerate(checks):
        check.name = f"ends{i}"
    made = make(tmp_path / "x", *checks)
    assert main.main(["inspect", str(made.directory)]) == code


def test_a_damaged_artifact_has_failed(artifact: ONNXArtifact, capsys: Captured) -> None:
    (artifact.directory / "report.md").write_text("else")
    assert main.main(["inspect", str(artifact.directory)]) == 1
    assert "report.md is 4 bytes" in capsys.readouterr().err


def test_usage(artifact: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    assert main.main(["inspect", str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert main.main(["inspect", str(tmp_path)]) == 2
    assert str(artifact.directory) in capsys.readouterr().err  # what may have been meant
    (tmp_path / "text.onnx").write_text("no model")
    assert main.main(["inspect", str(tmp_path / "text.onnx")]) == 2
    assert "is not an ONNX model" in capsys.readouterr().err
    (tmp_path / "last.ckpt").write_text("no model")
    for command in ("inspect", "check"):
        assert main.main([command, str(tmp_path / "last.ckpt")]) == 2
        assert "last.ckpt --model MODULE:NAME" in capsys.readouterr().err
    for wrong in ([], ["fly"], ["inspect"], ["inspect", "--fast", "x"]):
        with pytest.raises(SystemExit) as caught:
            main.main(wrong)
        assert caught.value.code == 2


def test_help_has_examples(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main.main(["--help"])
    text = capsys.readouterr().out
    assert "exit codes:" in text
    for command in ("export", "check", "diff", "bench", "inspect", "view"):
        assert command in text
        with pytest.raises(SystemExit):
            main.main([command, "--help"])
        assert f"examples:\n  lightning-onnx {command}" in capsys.readouterr().out


def test_version_and_module(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as caught:
        main.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"lightning-onnx {metadata.version('lightning-onnx')}\n"
    done = subprocess.run(
        [sys.executable, "-m", "lightning_onnx", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"lightning-onnx {lightning_onnx.__version__}\n"


def test_an_empty_file_is_an_error(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    for command in ("inspect", "check", "bench"):
        assert main.main([command, str(tmp_path / "empty.onnx")]) == 2
        assert "empty.onnx is not an ONNX model" in capsys.readouterr().err


def test_an_option_with_one_value_is_refused_the_second_time(capsys: pytest.CaptureFixture[str]) -> None:
    for option, values in (("--target", ("openvino", "onnxruntime>=1.17")), ("--opset", ("17", "18"))):
        given = [word for value in values for word in (option, value)]
        with pytest.raises(SystemExit, match="2"):
            main.main(["export", "last.ckpt", "--model", "a:B", *given])
        told = capsys.readouterr().err
        assert f"argument {option}: got {values[0]} and {values[1]}. Give it once." in told


def test_an_interrupt_is_told_in_a_line(
    artifact: ONNXArtifact, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(snippet, "run", interrupted)
    assert main.main(["snippet", str(artifact.directory)]) == 130  # as shells say it
    assert capsys.readouterr().err == "lightning-onnx snippet: interrupted\n"


def test_an_unknown_command_gets_the_nearest_one(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as end:
        main.main(["inspct", "a.onnx"])
    assert end.value.code == 2
    assert (
        "error: 'inspct' is not a command: did you mean 'inspect'? Choose from export, check, "
        in capsys.readouterr().err
    )


def test_an_unknown_option_gets_the_usage_of_its_command(capsys: Captured) -> None:
    for unknown, told in ((["--batches", "5"], "--batches 5: did you mean '--batch'?"), (["b.onnx"], "b.onnx")):
        with pytest.raises(SystemExit) as ended:
            main.main(["bench", "a.onnx", *unknown])
        said = capsys.readouterr().err
        assert (ended.value.code, said.startswith("usage: lightning-onnx bench")) == (2, True)
        assert said.rstrip().endswith(f"lightning-onnx bench: error: unknown: {told}")
