from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from lightning_onnx import ArtifactError, ONNXArtifact
from lightning_onnx.artifacts.artifact import MANIFEST
from lightning_onnx.artifacts.remote import check_writable, claim, download, release, remove_url, upload, write


@pytest.fixture
def url() -> str:
    return f"memory://{uuid.uuid4().hex}/made"


def exists(url: str) -> bool:
    return bool(fsspec.filesystem("memory").exists(url))


def test_uploaded_files_can_be_downloaded(exported: ONNXArtifact, url: str, tmp_path: Path) -> None:
    assert upload(exported.directory, url) == url
    download(url, tmp_path / "back")
    assert ONNXArtifact.load(tmp_path / "back").manifest == exported.manifest


@pytest.mark.parametrize("name", ["../outside", "sub/../../../outside", "a\\..\\b", "a\x1b[2Jb"])
def test_a_file_whose_name_leads_out_of_the_artifact_is_not_downloaded(url: str, name: str, tmp_path: Path) -> None:
    """Object stores and archives take names for what they are."""
    system, root = fsspec.core.url_to_fs(url)
    system.pipe_file(f"{root}/{MANIFEST}", b"{}")
    system.store[f"{root}/{name}"] = system.store[f"{root}/{MANIFEST}"]
    (tmp_path / "in").mkdir()
    with pytest.raises(ArtifactError, match=r"outside of it|invalid name"):
        download(url, tmp_path / "in" / "back")
    assert [path.name for path in tmp_path.rglob("*")] == ["in"]


def test_an_upload_replaces_old_files_and_ends_with_the_manifest(
    exported: ONNXArtifact, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(f"{url}/of another export", b"")
    order: list[str] = []
    put = MemoryFileSystem.put_file

    def recorded(self: Any, source: str, place: str, *args: Any, **kwargs: Any) -> None:
        order.append(place.rpartition("/")[2])
        put(self, source, place, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "put_file", recorded)
    upload(exported.directory, url)
    assert (order[-1], order.count("manifest.json")) == ("manifest.json", 1)
    assert not exists(f"{url}/of another export")


def test_a_removal_begins_with_the_manifest(exported: ONNXArtifact, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(exported.directory, url)
    order: list[str] = []
    remove = MemoryFileSystem.rm

    def recorded(self: Any, path: str, *args: Any, **kwargs: Any) -> None:
        order.append(path.rpartition("/")[2])
        remove(self, path, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "rm", recorded)
    remove_url(url)
    assert order == ["manifest.json", "made"]
    assert not exists(url)
    remove_url(url)


def test_a_download_appears_whole_or_not_at_all(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(f"{url}/a", b"a")
    write(f"{url}/b", b"b")
    get = MemoryFileSystem.get_file

    def broken(self: Any, path: str, *args: Any, **kwargs: Any) -> None:
        if path.endswith("b"):
            raise OSError("the line is down")
        get(self, path, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "get_file", broken)
    with pytest.raises(OSError, match="the line is down"):
        download(url, tmp_path / "back")
    assert list(tmp_path.iterdir()) == []


def test_writing_leaves_no_other_files(url: str, tmp_path: Path) -> None:
    for place in (f"{tmp_path}/file", f"{url}/file"):
        write(place, b"old")
        write(place, b"new")
        with fsspec.open(place, "rb") as file:
            assert file.read() == b"new"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_name_has_one_owner(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    claimed = claim(url)
    assert claimed is not None
    assert claim(url) is None
    release(claimed)
    release(claimed)
    assert not exists(url)
    write(f"{url}/manifest.json", b"")
    assert claim(url) is None


def test_of_two_that_take_a_name_at_the_same_time_none_gets_it(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = MemoryFileSystem.pipe_file

    def both(self: Any, path: str, value: bytes, **kwargs: Any) -> None:
        pipe(self, path, value, **kwargs)
        pipe(self, f"{path}-of-another", value)

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", both)
    assert claim(url) is None
    assert [path.rpartition("-")[2] for path in fsspec.filesystem("memory").find(url)] == ["another"]


def test_whether_a_url_can_be_written(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    check_writable(url)
    assert fsspec.filesystem("memory").find(url) == []

    def refused(*args: Any, **kwargs: Any) -> None:
        raise PermissionError("not yours")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refused)
    with pytest.raises(ArtifactError, match="cannot be written: not yours"):
        check_writable(url)


class Recursive(MemoryFileSystem):
    """Removes a directory with what is in it, as file systems of pyarrow do."""

    protocol = "recursive"

    def rmdir(self, path: str) -> None:
        inside = f"{self._strip_protocol(path)}/"
        for name in [name for name in self.store if name.startswith(inside)]:
            del self.store[name]
        super().rmdir(path)


def test_no_artifact_goes_with_the_file_that_claims_its_name(exported: ONNXArtifact) -> None:
    fsspec.register_implementation("recursive", Recursive, clobber=True)
    url = f"recursive://{uuid.uuid4().hex}/made"
    claimed = claim(url)
    assert claimed is not None
    upload(exported.directory, url)
    release(claimed)
    assert fsspec.filesystem("recursive").exists(f"{url}/manifest.json")
    other = f"{url}-2"
    mine = claim(other)
    assert mine is not None
    release(mine)
    assert not fsspec.filesystem("recursive").find(other)
