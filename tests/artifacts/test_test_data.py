"""What is written is in ONNX's layout, and is not training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from lightning_onnx.artifacts.test_data import write_test_data
from lightning_onnx.module.calls.signature import Signature, TensorSpec

SIGNATURE = Signature(
    (TensorSpec("x", "float32", ("batch", 4)), TensorSpec("keep", "bool", ("batch",))),
    (TensorSpec("y", "float32", ("batch",)),),
)


def reference(tensors: Sequence[Tensor]) -> list[Tensor]:
    x, keep = tensors
    return [x.sum(1) * keep]


def written(directory: Path) -> dict[str, Tensor]:
    tensors = [onnx.load_tensor(str(path)) for path in sorted(directory.iterdir())]
    return {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in tensors}


def test_synthetic_values_are_like_the_observed_ones_and_are_none_of_them(tmp_path: Path) -> None:
    observed = [torch.randn(8, 4) + 3, torch.arange(8) % 2 == 0]
    assert write_test_data(tmp_path / "set", SIGNATURE, observed, reference, "synthetic") is None
    found = written(tmp_path / "set")
    assert list(found) == ["x", "keep", "y"]
    assert (found["x"].shape, found["x"].dtype, found["keep"].dtype) == (observed[0].shape, torch.float32, torch.bool)
    assert not torch.isin(found["x"], observed[0]).any()
    assert observed[0].min() < found["x"].min() < found["x"].max() < observed[0].max()
    assert torch.equal(found["y"], reference([found["x"], found["keep"]])[0])


def test_observed_values_are_written_if_they_are_asked_for(tmp_path: Path) -> None:
    observed = [torch.randn(8, 4), torch.ones(8, dtype=torch.bool)]
    assert write_test_data(tmp_path / "set", SIGNATURE, observed, reference, "observed") is None
    assert torch.equal(written(tmp_path / "set")["x"], observed[0])


def test_the_same_observed_values_give_the_same_files(tmp_path: Path) -> None:
    observed = [torch.randn(8, 4), torch.arange(8) % 2 == 0]
    for name in ("a", "b"):
        write_test_data(tmp_path / name, SIGNATURE, observed, reference, "synthetic")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_nothing_is_written_of_outputs_that_are_not_finite(tmp_path: Path) -> None:
    observed = [torch.randn(8, 4), torch.ones(8, dtype=torch.bool)]
    told = write_test_data(tmp_path / "set", SIGNATURE, observed, lambda t: [t[0] / 0], "synthetic")
    assert told is not None
    assert "no finite outputs on synthetic inputs" in told
    assert not (tmp_path / "set").exists()


def test_a_module_that_needs_open_masks_gets_them(tmp_path: Path) -> None:
    def strict(tensors: Sequence[Tensor]) -> list[Tensor]:
        assert tensors[1].all()
        return reference(tensors)

    observed = [torch.randn(8, 4), torch.arange(8) % 2 == 0]
    assert write_test_data(tmp_path / "set", SIGNATURE, observed, strict, "synthetic") is None
    assert written(tmp_path / "set")["keep"].all()
