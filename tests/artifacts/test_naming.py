from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from lightning_onnx import ConfigurationError, ONNXExport, export
from lightning_onnx.artifacts.naming import artifact_name, check_filename, default_dirpath, resolve
from lightning_onnx.module.weights.source import Source


def test_the_default_directory_is_that_of_the_run(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="digits", version=3)
    assert default_dirpath([logger], "unused") == str(tmp_path / "digits" / "version_3" / "onnx")
    named = SimpleNamespace(save_dir=None, name="digits", version="abc")
    assert default_dirpath([named, logger], "root") == str(Path("root/digits/abc/onnx"))
    assert default_dirpath([], "root") == str(Path("root/onnx"))


def test_paths_are_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUN", "seven")
    assert resolve("a/$RUN") == str(tmp_path / "a" / "seven")
    assert resolve("~/a") == str(tmp_path / "home" / "a")
    assert resolve(f"file://{tmp_path}/a") == str(tmp_path / "a")
    assert resolve("memory://bucket/a/") == "memory://bucket/a"
    with pytest.raises(ConfigurationError, match="cannot be reached"):
        resolve("no-such-system://bucket")


@pytest.mark.parametrize("given", ["model.onnx", "out/Model.ONNX/", "s3://bucket/model.onnx"])
def test_a_file_where_a_directory_is_meant(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"dirpath='.*' is the name of a file.* such as '.*exported'"):
        ONNXExport(given)
    with pytest.raises(ConfigurationError, match=r"directory='.*' is (the name of a file|a URL)"):
        export(torch.nn.Linear(4, 2), torch.zeros(3, 4), directory=given)
    assert not list(tmp_path.iterdir())
    Path("run.onnx").mkdir()
    assert ONNXExport("run.onnx").dirpath == "run.onnx"  # of an earlier release


@pytest.mark.parametrize(
    "filename",
    [
        *("", ".hidden", "a/b", "a\\b", 3, b"a"),
        *("{{", "{{epoch}}", "}}", "{", "}", "{}", "{0}", "{epoch", "{epoch:z}", "{val_loss:.2x}", "{a[b]}{"),
        *("a\0", "a\nb", "{val\x1bloss}", "a\u202eb", "a\ud800b"),
        *("model.onnx", "{epoch}.ONNX"),
        *("index.json", "Index.JSON", "x" * 241, "ä" * 121, "{val_loss:.2f}" + "x" * 230, "{step:0250d}"),
    ],
)
def test_names_of_no_directory_are_refused(filename: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not the name of a directory"):
        check_filename(filename)


@pytest.mark.parametrize(
    ("filename", "source", "name"),
    [
        (None, Source(checkpoint="epoch=1-step=20.ckpt"), "epoch=1-step=20"),
        (None, Source(epoch=1, global_step=20), "epoch=1-step=20"),
        ("{epoch}-{val/loss:.2f}", Source(epoch=1), "epoch=1-val_loss=0.25"),
        ("{step}", Source(checkpoint="a.ckpt", global_step=20), "step=20"),
        ("model", Source(), "model"),
        ("{n:d}", Source(), "n=3"),
        ("{val/loss:d}", Source(checkpoint="a.ckpt"), "a"),
        ("{long:.250f}", Source(), "long=0." + "0" * 233),
        (None, Source(checkpoint="index.json.ckpt"), "index_json"),
        (None, Source(checkpoint="a\nb\x1b[1m.ckpt"), "a_b_[1m"),
        (None, Source(checkpoint="ä" * 125 + ".ckpt"), "ä" * 120),
        ("ä" * 120, Source(), "ä" * 120),
    ],
)
def test_names_of_artifacts(filename: str | None, source: Source, name: str) -> None:
    if filename != "{long:.250f}":  # refused beforehand, unless it is the number that is long
        check_filename(filename)
    metrics = {"val/loss": torch.tensor(0.25), "n": torch.tensor(3), "long": torch.tensor(0.0)}
    assert artifact_name(filename, source, metrics) == name
