"""A checkpoint is read without running any code in it."""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributed.checkpoint import FileSystemWriter
from torch.distributed.checkpoint.state_dict_saver import save

from lightning_onnx import WeightsError
from lightning_onnx.module.weights.checkpoint_file import open_checkpoint, read_checkpoint


class Custom:
    def __init__(self) -> None:
        self.ran = False

    def __reduce__(self) -> Any:
        return pathlib.Path.touch, (pathlib.Path("ran-what-stood-in-the-checkpoint"),)


def test_checkpoint_with_any_hyperparameters_is_read_and_nothing_of_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = {"w": torch.arange(3.0), "half": torch.ones(2, dtype=torch.bfloat16), "p": nn.Parameter(torch.zeros(1))}
    odd = {
        "path": Path("x"),
        "space": argparse.Namespace(a=1),
        "score": np.float64(1),
        "evil": Custom(),
        "type": Custom,
    }
    torch.save({"state_dict": weights, "hyper_parameters": odd, "epoch": 3}, tmp_path / "a.ckpt")
    content = read_checkpoint(str(tmp_path / "a.ckpt"))
    assert content["epoch"] == 3
    assert all(torch.equal(content["state_dict"][k], v) for k, v in weights.items())
    assert not (tmp_path / "ran-what-stood-in-the-checkpoint").exists()


def test_not_a_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a.ckpt").write_text("text")
    with pytest.raises(WeightsError, match=r"'a.ckpt' cannot be read"):
        read_checkpoint(str(tmp_path / "a.ckpt"))
    torch.save({"epoch": 1}, tmp_path / "b.ckpt")
    with pytest.raises(WeightsError, match="contains no state_dict"):
        read_checkpoint(str(tmp_path / "b.ckpt"))


def test_shards_can_be_read_after_they_are_removed(tmp_path: Path) -> None:
    """What a process that was killed left is removed, so that it does not keep the files of removed checkpoints."""
    path = tmp_path / "a.ckpt"
    save({"state_dict": {"w": torch.ones(3)}}, storage_writer=FileSystemWriter(path), no_dist=True)
    child = os.fork()
    if child == 0:
        opened = open_checkpoint(str(path))  # garbage collection would close it
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    (left,) = tmp_path.glob(".onnx-snapshot-*")
    with open_checkpoint(str(path)) as opened, open_checkpoint(str(path)) as again:
        assert not left.exists()
        assert len(list(tmp_path.glob(".onnx-snapshot-*"))) == 2
        shutil.rmtree(path)
        for read in (opened.read(), again.read()):
            assert torch.equal(read["state_dict"]["w"], torch.ones(3))
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_with_a_file_is_told(tmp_path: Path) -> None:
    whole, path = tmp_path / "whole.ckpt", tmp_path / "a.ckpt"
    torch.save({"state_dict": {"w": torch.arange(1000.0), "b": torch.ones(3)}}, whole)
    content = whole.read_bytes()
    flipped = bytearray(content)
    flipped[content.index(torch.arange(1000.0).numpy().tobytes()) + 99] ^= 1
    told = {
        b"": "it is empty",
        content[:2000]: "it ends too early, after 2000 bytes",
        b"hello": "it is no file that torch.save has written",
        bytes(flipped): "is damaged: the checksum of 'whole/data/0' is wrong. Copy the file again",
    }
    for wrong, message in told.items():
        path.write_bytes(wrong)
        with pytest.raises(WeightsError, match=message):
            read_checkpoint(str(path), is_verified=True)
    with pytest.raises(WeightsError, match=r"it is a directory without '\.metadata'"):
        read_checkpoint(str(tmp_path))
    assert len(read_checkpoint(str(whole), is_verified=True)["state_dict"]["w"]) == 1000
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"state_dict": {"w": torch.arange(1000.0)}}, path)
    finally:
        torch.serialization.set_crc32_options(True)
    assert len(read_checkpoint(str(path), is_verified=True)["state_dict"]["w"]) == 1000
