"""A store on a local disk and one behind a URL do the same."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from lightning_onnx import ArtifactError
from lightning_onnx.artifacts.index import IndexEntry, read_index
from lightning_onnx.artifacts.store import Store
from tests.artifacts.conftest import Copy


@pytest.fixture(params=["local", "url"])
def dirpath(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "onnx") if request.param == "local" else f"memory://{uuid.uuid4().hex}"


def opened(dirpath: str, owner: str = "me") -> Store:
    store = Store(dirpath, owner)
    store.open()
    return store


def add(store: Store, key: str, name: str, copy: Copy) -> None:
    with store.place(key, name) as (directory, replace):
        assert not replace
        store.add(key, copy(directory, checkpoint=f"{key}.ckpt"))


def index_of(store: Store) -> list[IndexEntry]:
    return read_index(f"{store.url or store.local}/index.json")


def test_artifacts_come_and_go(dirpath: str, copy: Copy) -> None:
    store = opened(dirpath)
    add(store, "one", "a", copy)
    add(store, "two", "b", copy)
    assert store.names() == ["a", "b"]
    assert store.made_from("two.ckpt") == ["b"]
    store.write_index("two")
    assert [(e.directory, e.best) for e in index_of(store)] == [("a", False), ("b", True)]
    store.remove("one")
    store.write_index("two")
    assert (store.names(), [e.directory for e in index_of(store)]) == (["b"], ["b"])


def test_a_taken_name_gets_a_version(dirpath: str, copy: Copy) -> None:
    store = opened(dirpath)
    add(store, "one", "a", copy)
    with store.place("two", "a") as (first, _), opened(dirpath).place("three", "a") as (second, _):
        assert (first.name, second.name) == ("a-v1", "a-v2"), "what one writes is reserved for the others"


def test_the_artifact_of_the_same_checkpoint_is_replaced(dirpath: str, copy: Copy) -> None:
    store = opened(dirpath)
    add(store, "one", "a", copy)
    with store.place("one", "a") as (directory, replace):
        assert (directory.name, replace) == ("a", True)
    add(store, "one", "another name", copy)
    assert store.names() == ["another name"]


def test_a_later_store_adopts_existing_artifacts(dirpath: str, copy: Copy) -> None:
    add(opened(dirpath), "one", "a", copy)
    later = opened(dirpath)
    assert later.adopt("none", "missing") is None
    adopted = later.adopt("one", "a")
    assert adopted is not None
    assert adopted.record.source.checkpoint == "one.ckpt"
    assert list(later.artifacts) == ["one"]


def test_stores_share_an_index(dirpath: str, copy: Copy) -> None:
    mine, yours = opened(dirpath), opened(dirpath, "you")
    add(mine, "one", "a", copy)
    mine.write_index("one")
    add(yours, "one", "b", copy)
    yours.write_index(None)
    assert [(e.directory, e.best) for e in index_of(mine)] == [("a", True), ("b", False)]
    assert len({e.owner for e in index_of(mine)}) == 2


def test_a_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="cannot be written"):
        opened(str(tmp_path / "file" / "onnx"))
    with pytest.raises(ArtifactError, match=r"dirpath='no-such-system://onnx' cannot be written"):
        opened("no-such-system://onnx")
