"""A store on a local disk and one behind a URL do the same."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import multiprocessing
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from lightning_onnx import ArtifactError, ONNXArtifact, scratch
from lightning_onnx.artifacts import staging
from lightning_onnx.artifacts.index import IndexEntry, read_index, write_index
from lightning_onnx.artifacts.store import Store
from tests.artifacts.conftest import Copy


@pytest.fixture(params=["local", "url"])
def dirpath(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "onnx") if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def opened(dirpath: str, owner: str | None = None) -> Store:
    store = Store(dirpath, owner)
    store.open()
    return store


def add(store: Store, key: str, name: str, copy: Copy) -> None:
    with store.place(key, name) as (directory, if_taken):
        assert if_taken == ("raise" if store.url else "version")
        artifact = copy(directory, checkpoint=f"{key}.ckpt")
    store.add(key, artifact)


def index_of(store: Store) -> list[IndexEntry]:
    return read_index(f"{store.url or store.local}/index.json")


def test_artifacts_come_and_go(dirpath: str, copy: Copy) -> None:
    store = opened(dirpath)
    add(store, "one", "a", copy)
    add(store, "two", "b", copy)
    assert store.names() == ["a", "b"]
    assert [name for name in store.names() if store.checkpoint_of(name) == "two.ckpt"] == ["b"]
    assert [store.location(artifact) for artifact in store.artifacts.values()] == [f"{dirpath}/a", f"{dirpath}/b"]
    store.write_index("two")
    assert [(e.directory, e.best) for e in index_of(store)] == [("a", False), ("b", True)]
    store.remove("one")
    store.write_index("two")
    assert (store.names(), [e.directory for e in index_of(store)]) == (["b"], ["b"])


def test_a_name_at_a_url_is_taken_in_advance(copy: Copy) -> None:
    dirpath = f"memory://{uuid.uuid4().hex}"
    store, other = opened(dirpath), opened(dirpath)
    add(store, "one", "a", copy)
    with store.place("two", "a") as (first, _), other.place("three", "a") as (second, _):
        assert (first.name, second.name) == ("a-v1", "a-v2")
        assert store.names() == ["a"]
        made = copy(first, checkpoint="two.ckpt")
    store.add("two", made)
    other.close()  # its artifact was never made
    assert store.names() == ["a", "a-v1"]
    with contextlib.suppress(RuntimeError), other.place("three", "a") as (third, _):
        assert third.name == "a-v2"
        raise RuntimeError
    system, plain = fsspec.core.url_to_fs(dirpath)
    assert not [path for path in system.find(plain) if ".claim-" in path]


def test_the_artifact_of_the_same_checkpoint_is_replaced(dirpath: str, copy: Copy) -> None:
    store = opened(dirpath)
    add(store, "one", "a", copy)
    with store.place("one", "a") as (directory, if_taken):
        assert (directory.name, if_taken) == ("a", "replace")
    add(store, "one", "another name", copy)
    assert store.names() == ["another name"]


@pytest.mark.parametrize("what", ["artifact", "dirpath"])
def test_nothing_behind_a_link_is_removed(what: str, tmp_path: Path, copy: Copy, caplog: Any) -> None:
    """During the run, a directory is replaced by a link to another one."""
    store = opened(str(tmp_path / "onnx"))
    add(store, "one", "a", copy)
    shutil.copytree(tmp_path / "onnx", tmp_path / "precious")
    (tmp_path / "onnx").rename(tmp_path / "moved")
    if what == "dirpath":
        (tmp_path / "onnx").symlink_to(tmp_path / "precious")
    else:
        (tmp_path / "onnx").mkdir()
        (tmp_path / "onnx" / "a").symlink_to(tmp_path / "precious" / "a")
    with store.place("one", "a") as (_, if_taken):
        assert if_taken == "version", "it is not replaced either"
    store.remove("one")
    assert "it stays as it is" in caplog.text
    ONNXArtifact.load(tmp_path / "precious" / "a")
    ONNXArtifact.load(tmp_path / "moved" / "a")


def test_a_later_store_adopts_existing_artifacts(dirpath: str, copy: Copy) -> None:
    add(opened(dirpath), "one", "a", copy)
    later = opened(dirpath)
    assert later.adopt("none", "missing") is None
    adopted = later.adopt("one", "a")
    assert adopted is not None
    assert adopted.record.source.checkpoint == "one.ckpt"
    assert list(later.artifacts) == ["one"]


def test_stores_share_an_index(dirpath: str, copy: Copy) -> None:
    mine, yours = opened(dirpath), opened(dirpath)
    add(mine, "one", "a", copy)
    mine.write_index("one")
    add(yours, "one", "b", copy)
    yours.write_index("one")
    assert [(e.directory, e.best, e.owner) for e in index_of(mine)] == [
        ("a", True, mine.owner),
        ("b", True, yours.owner),
    ]
    assert mine.owner != yours.owner


def test_a_lost_index_is_made_again_from_the_directories(dirpath: str, copy: Copy) -> None:
    mine, yours = opened(dirpath), opened(dirpath)
    add(mine, "one", "a", copy)
    add(yours, "one", "b", copy)
    yours.write_index("one")
    assert [(e.directory, e.checkpoint, e.best) for e in index_of(mine)] == [
        ("a", "one.ckpt", False), ("b", "one.ckpt", True),
    ]  # fmt: skip
    mine.write_index("one")
    write_index(f"{mine.url or mine.local}/index.json", [])  # another run that read it before all this
    mine.close()
    assert sorted((e.directory, e.best, e.owner) for e in index_of(mine)) == [("a", True, mine.owner), ("b", False, "")]
    yours.close()
    assert sorted((e.directory, e.best) for e in index_of(mine)) == [("a", True), ("b", True)]


def test_what_others_put_there_stops_nothing(tmp_path: Path, copy: Copy) -> None:
    store = opened(str(tmp_path))
    add(store, "one", "a", copy)
    for name, content in (("deep", "[" * 200_000), ("text", "no JSON"), ("list", "[]"), ("empty", "{}")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "manifest.json").write_text(content)
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "manifest.json")
    (tmp_path / "index.json").write_text("[" * 200_000)
    store.write_index("one")
    assert [(e.directory, e.best) for e in index_of(store)] == [("a", True)]
    assert [name for name in store.names() if store.checkpoint_of(name) == "one.ckpt"] == ["a"]


def test_a_full_disk_leaves_the_index_whole(dirpath: str, copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    store = opened(dirpath)
    add(store, "one", "a", copy)
    store.write_index("one")
    add(store, "two", "b", copy)

    def full(self: Any, *args: Any) -> None:
        if isinstance(self, Path):
            self.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", full)
        patched.setattr(MemoryFileSystem, "pipe_file", full)
        with pytest.raises(OSError, match="No space left"):
            store.write_index("two")
    assert [e.directory for e in index_of(store)] == ["a"]
    assert not list(store.local.glob(".*"))
    store.write_index("two")
    assert [(e.directory, e.best) for e in index_of(store)] == [("a", False), ("b", True)]


def fill(dirpath: str, made: ONNXArtifact, best: int) -> None:
    """What a run does, in a process of its own: four artifacts of one name."""
    store = opened(dirpath)
    for number in range(4):
        key = f"{number}.ckpt"
        with store.place(key, "a") as (directory, if_taken), staging.stage(directory.parent) as staged:
            shutil.copy(made.model_path, staged)
            manifest = dataclasses.replace(made.record, source=dataclasses.replace(made.record.source, checkpoint=key))
            artifact = staging.commit(staged, manifest, directory, if_taken)
        store.add(key, artifact)
        store.write_index(f"{min(number, best)}.ckpt")
    store.close()


@pytest.mark.slow
@pytest.mark.parametrize("has_locks", [True, False])
def test_processes_share_a_directory(
    has_locks: bool, tmp_path: Path, exported: ONNXArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_locks:
        monkeypatch.setattr(scratch, "attempt", lambda directory: contextlib.nullcontext(scratch.Attempt.NO_LOCKS))
    context = multiprocessing.get_context("fork")
    runs = [context.Process(target=fill, args=(str(tmp_path), exported, best)) for best in range(3)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)
    assert [run.exitcode for run in runs] == [0, 0, 0]
    assert {p.name for p in tmp_path.iterdir()} == {"index.json", "a", *(f"a-v{n}" for n in range(1, 12))}
    entries = read_index(str(tmp_path / "index.json"))
    assert sorted(e.directory for e in entries) == sorted(p.name for p in tmp_path.iterdir() if p.is_dir())
    for entry in entries:
        artifact = ONNXArtifact.load(tmp_path / entry.directory)
        assert artifact.manifest["name"] == entry.directory
        assert artifact.record.source.checkpoint == entry.checkpoint
    assert {sum(e.owner == owner for e in entries) for owner in {e.owner for e in entries}} == {4}
    if has_locks:
        assert sorted(str(e.checkpoint) for e in entries if e.best) == ["0.ckpt", "1.ckpt", "2.ckpt"]


def test_a_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        opened(str(tmp_path / "file" / "onnx"))
    with pytest.raises(ArtifactError, match=r"the directory 'no-such-system://onnx' cannot be written"):
        opened("no-such-system://onnx")
