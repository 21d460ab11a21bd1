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


def write_blocks(path: Path, number: int = 20) -> HashedFile:
    with HashedFile(path) as file:
        for _ in range(number):
            file.write(bytes(2**20))
    return file


def test_without_a_second_thread_the_first_one_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        file = write_blocks(tmp_path / "a")
    assert file.written.sha256 == hashlib.sha256(bytes(20 * 2**20)).hexdigest()


class Full:
    """A digest for which there is no memory."""

    def update(self, block: bytes) -> None:
        raise MemoryError("no memory to hash")


def test_an_error_of_the_second_thread_ends_the_file_and_holds_up_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashlib, "sha256", Full)
    monkeypatch.setattr("lightning_onnx.onnxfile.hashed_file._SMALL", 0)
    outcome: list[BaseException] = []

    def write() -> None:
        try:
            write_blocks(tmp_path / "a")
        except BaseException as error:
            outcome.append(error)

    writing = threading.Thread(target=write, daemon=True)
    writing.start()
    writing.join(60)
    assert [type(error) for error in outcome] == [MemoryError]
