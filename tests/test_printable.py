"""Control characters in names reach no terminal and no report."""

from __future__ import annotations

import io
import json
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

import lightning_onnx
from lightning_onnx import ONNXArtifact, ONNXExport, ONNXExportError
from lightning_onnx.cli.main import main
from lightning_onnx.printable import CONTROLS, in_lines, one_line, printable
from lightning_onnx.report.report import Report
from tests.models import Classifier

GOLDEN = Path(__file__).parent / "golden" / "0.1.0" / "artifact"
EVIL = "a\x1b[2J\x9b31m\u202eb\x07\r"


def test_text_stays_text() -> None:
    text = "größe 10⁻⁶ 数\n\ttab → ✓ \u00a0"
    assert printable(text) == text
    assert one_line("a b  c") == "a b  c"


def test_controls_are_escaped() -> None:
    assert printable("\x1b[2J\x9b\u202e\x00\ud800") == r"\x1b[2J\x9b\u202e\x00\ud800"
    assert one_line("a\r\nparity  passed") == "a parity passed"
    assert in_lines({"a\x07": ["b\nc", 1, None]}) == {r"a\x07": ["b c", 1, None]}


def test_messages_of_errors() -> None:
    assert str(ONNXExportError(f"{EVIL} fails")) == "a\\x1b[2J\\x9b31m\\u202eb\\x07\\r fails"
    assert not CONTROLS.search(str(lightning_onnx.ConfigurationError(EVIL)))


@pytest.fixture
def evil(tmp_path: Path) -> Path:
    """An artifact whose every text and name has control characters, where it may have any."""
    directory = Path(shutil.copytree(GOLDEN, tmp_path / "artifact"))
    manifest = json.loads((directory / "manifest.json").read_text())

    def spoiled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key + EVIL: spoiled(inner) for key, inner in value.items()}
        return (
            [spoiled(inner) for inner in value]
            if isinstance(value, list)
            else EVIL
            if isinstance(value, str)
            else value
        )

    for key in ("name", "notes", "relations", "metadata", "versions", "runtimes", "scalars"):
        manifest[key] = spoiled(manifest[key])
    manifest["scalars"]["size_mib"] = 0.1
    for key, value in manifest["source"].items():
        manifest["source"][key] = EVIL if isinstance(value, str) and key != "method" else value
    for check in manifest["checks"]:
        check.update(name=EVIL, reason=f"{EVIL}\nparity  passed", figures=spoiled(check["figures"]))
    manifest["graph"]["operators"] = spoiled(manifest["graph"]["operators"])
    (directory / "manifest.json").write_text(json.dumps(manifest))
    return directory


def spoil_input(directory: Path) -> None:
    """Let the manifest contradict the model, which inspect finds and a report does not."""
    manifest = json.loads((directory / "manifest.json").read_text())
    manifest["inputs"][0].update(name=EVIL, shape=[EVIL, 1])
    (directory / "manifest.json").write_text(json.dumps(manifest))


def test_reports(evil: Path) -> None:
    spoil_input(evil)
    report = ONNXArtifact.load(evil).report
    for text in (report.text(), report.markdown(), report.html()):
        assert not CONTROLS.search(text)
        assert r"a\x1b[2J" in text.replace(r"\\", "\\").replace(r"\[", "[")
        assert "\nparity  passed" not in text


def test_a_name_cannot_look_like_a_line(evil: Path) -> None:
    manifest = json.loads((evil / "manifest.json").read_text())
    manifest["source"]["module"] = "Net\nparity  passed"
    assert "\nparity" not in Report(manifest).text()


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_command_line(options: list[str], evil: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["inspect", str(evil), *options])
    main(["inspect", str(evil / EVIL), *options])
    found = capsys.readouterr()
    assert not CONTROLS.search(found.out + found.err)
    assert r"a\x1b[2J" in found.err
    if options:
        assert json.loads(found.out)["source"]["module"] == EVIL
    spoil_input(evil)
    assert main(["inspect", str(evil), *options]) != 0
    assert not CONTROLS.search(capsys.readouterr().err)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_terminals_of_any_encoding(
    options: list[str], encoding: str, evil: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(terminal, encoding=encoding))
    main(["inspect", str(evil), *options])
    sys.stdout.flush()
    text = terminal.getvalue().decode(encoding)
    assert json.loads(text)["versions"] if options else "Checks" in text


@pytest.mark.slow
def test_a_training_with_such_names(fit: Any, tmp_path: Path, capfd: Any, caplog: Any) -> None:
    def logs(self: Any, batch: Any, batch_idx: int) -> None:
        self.log(f"val{EVIL}", torch.tensor(1.0))

    kind = type(f"Net{EVIL}", (Classifier,), {"validation_step": logs})
    kept = ModelCheckpoint(tmp_path, monitor=f"val{EVIL}", filename=f"{EVIL}{{epoch}}")
    callback = ONNXExport(tmp_path / "onnx", filename=None)
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        fit(kind(), kept, callback)
    artifact = callback.artifact
    assert artifact is not None
    assert artifact.manifest["source"]["module"] == f"Net{EVIL}"
    assert not CONTROLS.search(artifact.name)
    said = [str(w.message) for w in warned if "ONNX" in str(w.message)] + [r.getMessage() for r in caplog.records]
    read = [(artifact.directory / name).read_text() for name in ("report.html", "report.md")]
    found = capfd.readouterr()
    for text in (*[t for t in said if "ONNX" in t], *read, *[t for t in (found.out, found.err) if "ONNX" in t]):
        assert not CONTROLS.search(text)


def test_a_module_without_a_trainer(tmp_path: Path) -> None:
    kind = type(f"Net{EVIL}", (nn.Linear,), {})
    with pytest.raises(lightning_onnx.ONNXExportError) as error:
        lightning_onnx.export(kind(4, 2), torch.ones(3, 5), directory=tmp_path / "x")
    assert not CONTROLS.search(str(error.value))
