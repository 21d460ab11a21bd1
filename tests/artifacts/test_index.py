from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from lightning_onnx.artifacts.index import IndexEntry, read_index, write_index
from tests.artifacts.conftest import Copy

ENTRY = IndexEntry("a", True, True, "a.ckpt", 1, 20, "val_loss", 0.5, "me")


def test_entries_are_the_same_there_and_back(tmp_path: Path) -> None:
    live = IndexEntry("live", False, False, None, None, None, None, None, "me")
    place = tmp_path / "index.json"
    write_index(str(place), [ENTRY, live])
    assert read_index(str(place)) == [ENTRY, live]
    assert [p.name for p in tmp_path.iterdir()] == ["index.json"]
    (first, _) = json.loads(place.read_text())["artifacts"]
    assert list(first) == [
        "directory", "best", "passed", "checkpoint", "epoch", "global_step", "monitor", "score", "owner",
    ]  # fmt: skip


def test_an_entry_equals_the_manifest(copy: Copy, tmp_path: Path) -> None:
    artifact = copy(tmp_path / "a", checkpoint="a.ckpt", epoch=1, global_step=20, monitor="val_loss", score=0.5)
    assert IndexEntry.of(artifact, is_best=True, owner="me") == ENTRY


@pytest.mark.parametrize("text", [None, "", "[]", '{"artifacts": 3}', '{"artifacts": [{"directory": "a"}]}', "\x00"])
def test_an_index_that_cannot_be_read_has_no_entries(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "index.json").write_text(text)
    assert read_index(str(tmp_path / "index.json")) == []


@pytest.mark.parametrize("wrong", [{"directory": 3}, {"best": "yes"}, {"owner": None}, {"score": "1"}])
def test_an_entry_that_cannot_be_read_costs_no_other(wrong: dict[str, object], tmp_path: Path) -> None:
    place = tmp_path / "index.json"
    entry = dataclasses.asdict(ENTRY)
    place.write_text(json.dumps({"artifacts": [{**entry, "directory": "b", **wrong}, entry]}))
    assert read_index(str(place)) == [ENTRY]
