"""Files appear whole or not at all."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_onnx import ArtifactError
from lightning_onnx.artifacts.staging import check_writable, put, stage, sweep


def test_a_failed_stage_leaves_nothing(tmp_path: Path) -> None:
    def half() -> None:
        with stage(tmp_path) as staged:
            (staged / "model.onnx").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert list(tmp_path.iterdir()) == []


def test_only_stale_stages_are_removed(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = platform.node()
    stale, running = tmp_path / f".onnx-staging-{host}-{gone.pid}_a", tmp_path / f".onnx-staging-{host}-{os.getpid()}_b"
    elsewhere = tmp_path / f".onnx-staging-{host}-other-{gone.pid}_c"
    for directory in (stale, running, elsewhere, tmp_path / "mine"):
        directory.mkdir()
        (directory / "model.onnx").write_text("half")
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([running.name, elsewhere.name, "mine"])


def test_unwritable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written") as caught:
        check_writable(tmp_path / "file" / "below")
    assert isinstance(caught.value.__cause__, OSError)


def test_put_replaces_a_directory(tmp_path: Path) -> None:
    for name in ("new", "made"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    put(tmp_path / "new", tmp_path / "made")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["made", "made/new"]


def test_a_failed_put_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "old").touch()
    with pytest.raises(FileNotFoundError):
        put(tmp_path / "missing", tmp_path / "made")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["made", "made/old"]
