"""Files appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_onnx import ArtifactError, ONNXArtifact, scratch
from lightning_onnx.artifacts import staging
from lightning_onnx.artifacts.remote import write
from lightning_onnx.artifacts.staging import check_writable, commit, put, stage, sweep
from lightning_onnx.scratch import Attempt, machine


def test_a_failed_stage_leaves_nothing(tmp_path: Path) -> None:
    def half() -> None:
        with stage(tmp_path) as staged:
            (staged / "model.onnx").write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert list(tmp_path.iterdir()) == []


def staged_by_a_process_that_was_killed(dirpath: Path) -> Path:
    child = os.fork()
    if child == 0:
        with stage(dirpath) as staged:
            (staged / "model.onnx").write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = dirpath.glob(".onnx-staging-*")
    return left


def test_what_a_killed_process_staged_is_removed(tmp_path: Path) -> None:
    left = staged_by_a_process_that_was_killed(tmp_path)
    # In a container, the next process has the same number.
    left.rename(tmp_path / left.name.replace(f"-{left.name.split('-')[-1].split('_')[0]}_", f"-{os.getpid()}_"))
    (tmp_path / "index.json.17").write_text("half")
    (tmp_path / "mine").mkdir()
    with stage(tmp_path) as staged:
        sweep(tmp_path)
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([staged.name, "mine"])


def test_what_another_process_stages_stays(tmp_path: Path) -> None:
    with stage(tmp_path) as staged:
        child = os.fork()
        if child == 0:
            try:
                sweep(tmp_path)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert staged.is_dir()


def test_without_locks_the_process_number_and_the_time_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "attempt", lambda directory: contextlib.nullcontext(Attempt.NO_LOCKS))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    here = machine()
    stale, running = (tmp_path / f".onnx-staging-{here}-{pid}_a" for pid in (gone.pid, os.getpid()))
    of_0_1 = tmp_path / f".onnx-staging-{platform.node()}-{gone.pid}_b"
    elsewhere, old = (tmp_path / f".onnx-staging-other-{here}-{gone.pid}_{c}" for c in "cd")
    for directory in (stale, running, of_0_1, elsewhere, old, tmp_path / "mine"):
        directory.mkdir()
        (directory / "model.onnx").write_text("half")
    os.utime(old, (1, 1))
    (tmp_path / ".onnx-staging-a-1_link").symlink_to(tmp_path / "mine")
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        [running.name, elsewhere.name, ".onnx-staging-a-1_link", "mine"]
    )
    assert (tmp_path / "mine" / "model.onnx").is_file()


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o002])
def test_the_umask_is_obeyed(umask: int, tmp_path: Path, exported: ONNXArtifact) -> None:
    before = os.umask(umask)
    try:
        with stage(tmp_path / "onnx") as staged:
            shutil.copy(exported.model_path, staged)
            (staged / "test_data_set_0").mkdir()
            made = commit(staged, exported.record, tmp_path / "onnx" / "a")
        write(str(tmp_path / "onnx" / "index.json"), b"{}")
    finally:
        os.umask(before)
    modes = {p.relative_to(tmp_path).as_posix(): p.stat().st_mode & 0o777 for p in tmp_path.rglob("*")}
    del modes["onnx/a/model.onnx"]  # shutil.copy keeps the mode
    of_directories = {name: modes.pop(name) for name in ("onnx", "onnx/a", "onnx/a/test_data_set_0")}
    assert set(of_directories.values()) == {0o777 & ~umask}
    assert set(modes.values()) == {0o666 & ~umask}
    assert len(modes) >= 3
    assert made.directory.is_dir()


def test_a_taken_name(tmp_path: Path, exported: ONNXArtifact) -> None:
    (tmp_path / "a" / "of another").mkdir(parents=True)

    def committed(if_taken: staging.IfTaken) -> ONNXArtifact:
        with stage(tmp_path) as staged:
            shutil.copy(exported.model_path, staged)
            return commit(staged, exported.record, tmp_path / "a", if_taken)

    with pytest.raises(ArtifactError, match="cannot be written"):
        committed("raise")
    assert [committed("version").manifest["name"] for _ in range(2)] == ["a-v1", "a-v2"]
    assert (tmp_path / "a" / "of another").is_dir()
    assert committed("replace").directory == tmp_path / "a"
    ONNXArtifact.load(tmp_path / "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "a-v1", "a-v2"]


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
