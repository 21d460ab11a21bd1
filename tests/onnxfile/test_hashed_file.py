from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest

from lightning_onnx.onnxfile.hashed_file import HashedFile, WrittenFile


@pytest.mark.parametrize("blocks", [[], [10], [2**20, 1], [3, 2**21, 5, 2**20, *[2**18] * 40]])
def test_digest_and_size_are_those_of_the_content(blocks: list[int], tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    with HashedFile(tmp_path / "a") as file:
        for size in blocks:
            file.write(generator.bytes(size))
    content = (tmp_path / "a").read_bytes()
    assert len(content) == sum(blocks)
    assert file.written == WrittenFile(hashlib.sha256(content).hexdigest(), len(content))


def fail_after_a_block(path: Path) -> None:
    with HashedFile(path) as file:
        file.write(bytes(2**21))
        raise ZeroDivisionError


def test_the_thread_ends_with_an_error(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_after_a_block(tmp_path / "a")
    assert not any("sha256" in thread.name for thread in threading.enumerate())
