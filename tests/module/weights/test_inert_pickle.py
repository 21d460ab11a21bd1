"""A pickle changes nothing but the objects that it makes."""

from __future__ import annotations

import collections
import io
import pathlib
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch._utils
from torch import nn
from torch.distributed.checkpoint import FileSystemWriter, save
from torch.distributed.checkpoint import metadata as dcp
from torch.nn.parameter import Parameter

from lightning_onnx import WeightsError
from lightning_onnx.module.weights.checkpoint_file import read_checkpoint


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def inner(value: object) -> bytes:
    """The opcodes that put a value on the stack."""
    return pickle.dumps(value, 2)[2:-1]


def checkpoint(path: Path, opcodes: bytes) -> str:
    """Write a checkpoint that is in order, but for one more entry, which the opcodes make."""
    whole = b"\x80\x02}" + text("state_dict") + b"}s" + text("more") + opcodes + b"s."
    file = io.BytesIO()
    torch.save({"state_dict": {}}, file)
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, whole if name.endswith("data.pkl") else old.read(name))
    return str(path)


MODULE_LEVEL: dict[str, object] = {
    "pathlib Path": pathlib.Path,
    "collections OrderedDict": collections.OrderedDict,
    "torch._utils _rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "torch._tensor _rebuild_from_type_v2": torch._tensor._rebuild_from_type_v2,
    "torch.nn.parameter Parameter": Parameter,
    "torch.distributed.checkpoint.metadata Metadata": dcp.Metadata,
    "torch.distributed.checkpoint.metadata MetadataIndex": dcp.MetadataIndex,
    "torch.distributed.checkpoint.metadata _MEM_FORMAT_ENCODING": dcp._MEM_FORMAT_ENCODING,
    "torch.storage UntypedStorage": torch.UntypedStorage,
    "torch float32": torch.float32,
    "nowhere Unknown": None,
}

STATES: dict[str, object] = {
    "slots": (None, {"planted": 1}),
    "attributes": {"planted": 1},
    "both": ({"planted": 1}, {"planted": 1}),
}


def attributes(thing: object) -> dict[str, object]:
    return dict(vars(thing)) if hasattr(thing, "__dict__") else {}


@pytest.mark.parametrize("state", STATES.values(), ids=STATES.keys())
@pytest.mark.parametrize("name", MODULE_LEVEL)
def test_what_is_imported_receives_no_state(name: str, state: object, tmp_path: Path) -> None:
    thing = MODULE_LEVEL[name]
    before = attributes(thing)
    path = checkpoint(tmp_path / "a.ckpt", b"c" + name.replace(" ", "\n").encode() + b"\n" + inner(state) + b"b")
    with pytest.raises(WeightsError, match="state"):
        read_checkpoint(path)
    assert attributes(thing) == before
    torch.save({"state_dict": {"w": torch.ones(1)}, "more": Path("x"), "odd": Odd()}, tmp_path / "b.ckpt")
    assert read_checkpoint(str(tmp_path / "b.ckpt"))["more"] == Path("x")


class Odd:
    def __init__(self) -> None:
        self.of = "a class that is not loaded"


class Reduced:
    def __init__(self, *parts: object) -> None:
        self.parts = parts

    def __reduce__(self) -> Any:
        return self.parts


MEMBER = dcp._MEM_FORMAT_ENCODING.TORCH_CHANNELS_LAST


@pytest.mark.parametrize(
    "evil",
    [
        Reduced(dcp._MEM_FORMAT_ENCODING, (1,), (None, {"planted": 1})),
        Reduced(dcp._MEM_FORMAT_ENCODING, (1,), {"planted": 1}),
        Reduced(
            torch._tensor._rebuild_from_type_v2,
            (dcp._MEM_FORMAT_ENCODING, dcp._MEM_FORMAT_ENCODING, (1,), {"planted": 1}),
        ),
        Reduced(
            torch._tensor._rebuild_from_type_v2,
            (dcp._MEM_FORMAT_ENCODING, dcp._MEM_FORMAT_ENCODING, (1,), (None, {"planted": 1})),
        ),
        Reduced(torch._utils._rebuild_parameter_with_state, (MEMBER, True, {}, {"planted": 1})),
    ],
)
def test_what_a_call_returns_is_not_always_new(evil: object, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "more": evil}, tmp_path / "a.ckpt")
    with pytest.raises(WeightsError):
        read_checkpoint(str(tmp_path / "a.ckpt"))
    assert "planted" not in vars(MEMBER)


def test_state_that_checkpoints_have_is_kept(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(2))
    weight.mark = "an attribute of a parameter"  # type: ignore[attr-defined]
    kind = type("Kind", (torch.Tensor,), {})
    globals()["Kind"] = kind
    tensors = {"p": weight, "k": torch.ones(3).as_subclass(kind), "s": torch.eye(2).to_sparse(), "odd": Odd()}
    state_dict = nn.Linear(2, 1).state_dict()
    state_dict.update(tensors)
    torch.save({"state_dict": state_dict, "more": Odd()}, tmp_path / "a.ckpt")
    found = read_checkpoint(str(tmp_path / "a.ckpt"))["state_dict"]
    assert found._metadata == state_dict._metadata
    assert torch.equal(found["p"], weight)
    assert torch.equal(found["k"], torch.ones(3))
    assert torch.equal(found["s"].to_dense(), torch.eye(2))


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    save({"state_dict": {"w": torch.arange(4.0)}}, storage_writer=FileSystemWriter(tmp_path / "a.ckpt"), no_dist=True)
    return tmp_path / "a.ckpt"


def rewritten(sharded: Path, change: Callable[[Any], object]) -> str:
    found = pickle.loads((sharded / ".metadata").read_bytes())
    change(found)
    (sharded / ".metadata").write_bytes(pickle.dumps(found))
    return str(sharded)


def test_sharded_checkpoint(sharded: Path) -> None:
    assert torch.equal(read_checkpoint(str(sharded))["state_dict"]["w"], torch.arange(4.0))


@pytest.mark.parametrize("absolute", [False, True])
def test_shards_outside_of_the_checkpoint_are_not_read(absolute: bool, sharded: Path, tmp_path: Path) -> None:
    name = next(path.name for path in sharded.glob("*.distcp"))
    shutil.move(sharded / name, tmp_path / name)
    place = str(tmp_path / name) if absolute else f"../{name}"
    path = rewritten(sharded, lambda m: [vars(s).update(relative_path=place) for s in m.storage_data.values()])
    with pytest.raises(WeightsError, match="outside"):
        read_checkpoint(path)


def test_metadata_that_plants_an_attribute(sharded: Path) -> None:
    evil = b"c" + b"pathlib\nPath\n" + inner((None, {"planted": 1})) + b"b."
    (sharded / ".metadata").write_bytes(b"\x80\x02" + evil)
    with pytest.raises(WeightsError, match="state"):
        read_checkpoint(str(sharded))
    assert not hasattr(pathlib.Path, "planted")
