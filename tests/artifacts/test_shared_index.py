from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_onnx.artifacts import shared_index
from lightning_onnx.artifacts.index import IndexEntry, read_index, write_index
from lightning_onnx.artifacts.shared_index import SharedIndex

ENTRY = IndexEntry("a", True, True, "a.ckpt", 1, 20, "val_loss", 0.5, "me")
OTHER = dataclasses.replace(ENTRY, directory="b", owner="you")
UNKNOWN = dataclasses.replace(ENTRY, directory="c", owner="", best=False)


def index(dirpath: Path, *names: str) -> SharedIndex:
    return SharedIndex(f"{dirpath}/index.json", "me", lambda: list(names), {"c": UNKNOWN}.get)


def test_it_is_made_from_the_directories(tmp_path: Path) -> None:
    gone, earlier = (dataclasses.replace(ENTRY, directory=name) for name in ("gone", "earlier"))
    write_index(f"{tmp_path}/index.json", [gone, OTHER, earlier])
    index(tmp_path, "a", "b", "c", "cannot be read", "earlier").write([ENTRY, dataclasses.replace(gone, best=False)])
    assert read_index(f"{tmp_path}/index.json") == [OTHER, dataclasses.replace(earlier, best=False), UNKNOWN, ENTRY]


def test_what_another_run_overwrites_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without locks, it may have read the index before."""
    times = 0

    def overwritten(place: str, entries: object, write: Callable[..., None] = write_index) -> None:
        nonlocal times
        write(place, entries)
        times += 1
        if times < 3:
            write(place, [OTHER])

    monkeypatch.setattr(shared_index, "write_index", overwritten)
    index(tmp_path, "a", "b").write([ENTRY])
    assert read_index(f"{tmp_path}/index.json") == [OTHER, ENTRY]
    assert times == 3


@pytest.mark.parametrize(
    ("present", "is_written"),
    [
        ([ENTRY, OTHER], False),
        ([OTHER], True),
        ([ENTRY], True),
        ([dataclasses.replace(ENTRY, best=False), OTHER], True),
        ([ENTRY, dataclasses.replace(OTHER, owner="me")], True),
    ],
)
def test_what_is_right_is_not_written(
    present: list[IndexEntry], is_written: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_index(f"{tmp_path}/index.json", present)
    written: list[str] = []
    monkeypatch.setattr(shared_index, "write_index", lambda place, entries: written.append(place))
    names = ["a", "b"] if len(present) == 2 or present == [OTHER] else ["a", "c"]
    index(tmp_path, *names).write([ENTRY], unless_right=True)
    assert bool(written) == is_written
