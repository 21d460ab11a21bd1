"""Test data is written in ONNX's layout, and is not training data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor

from lightning_onnx.artifacts.test_data import NoTestData, TestData, make_test_data, write_test_data
from lightning_onnx.module.calls.signature import Signature, TensorSpec

SIGNATURE = Signature(
    (TensorSpec("x", "float32", ("batch", 4)), TensorSpec("keep", "bool", ("batch",))),
    (TensorSpec("y", "float32", ("batch",)),),
)


def reference(tensors: Sequence[Tensor]) -> list[Tensor]:
    x, keep = tensors
    return [x.sum(1) * keep]


def always(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
    return True


def written(directory: Path, data: TestData | None) -> dict[str, Tensor]:
    assert data is not None
    write_test_data(directory, SIGNATURE, data)
    tensors = [onnx.load_tensor(str(path)) for path in sorted(directory.iterdir())]
    return {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in tensors}


def test_synthetic_values_differ_from_observed_ones(tmp_path: Path) -> None:
    observed = [torch.randn(8, 4) + 3, torch.arange(8) % 2 == 0]
    found = written(tmp_path / "set", make_test_data(observed, reference, always, "synthetic"))
    assert list(found) == ["x", "keep", "y"]
    assert (found["x"].shape, found["x"].dtype, found["keep"].dtype) == (observed[0].shape, torch.float32, torch.bool)
    assert not torch.isin(found["x"], observed[0]).any()
    assert torch.equal(found["y"], reference([found["x"], found["keep"]])[0])


def test_observed_values_are_written_on_request(tmp_path: Path) -> None:
    observed = [torch.randn(8, 4), torch.ones(8, dtype=torch.bool)]
    data = make_test_data(observed, reference, always, "observed")
    assert torch.equal(written(tmp_path / "set", data)["x"], observed[0])


def test_the_same_observed_values_give_the_same_files(tmp_path: Path) -> None:
    observed = [torch.randn(8, 4), torch.arange(8) % 2 == 0]
    for name in ("a", "b"):
        written(tmp_path / name, make_test_data(observed, reference, always, "synthetic"))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_outputs_that_are_not_finite_give_no_test_data() -> None:
    observed = [torch.randn(8, 4), torch.ones(8, dtype=torch.bool)]
    assert make_test_data(observed, lambda t: [t[0] / 0], always, "synthetic") == NoTestData()


def test_a_module_that_needs_open_masks_gets_them() -> None:
    def strict(tensors: Sequence[Tensor]) -> list[Tensor]:
        assert tensors[1].all()
        return reference(tensors)

    data = make_test_data([torch.randn(8, 4), torch.arange(8) % 2 == 0], strict, always, "synthetic")
    assert data is not None
    assert data.inputs[1].all()


def test_inputs_on_which_the_module_is_stable_come_first() -> None:
    observed, tried = [torch.randn(8, 4), torch.ones(8, dtype=torch.bool)], []

    def third_is_stable(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
        tried.append(inputs)
        return len(tried) == 3

    data = make_test_data(observed, reference, third_is_stable, "synthetic")
    assert data is not None
    assert data.inputs is tried[2]
    assert make_test_data(observed, reference, third_is_stable, "synthetic", most=1) is not None
    none = make_test_data(observed, reference, lambda inputs, outputs: False, "synthetic")
    assert none is not None
    assert torch.equal(none.inputs[0], tried[0][0])


def test_the_reason_of_missing_test_data_is_the_modules_own() -> None:
    error = ValueError("a code below 3 is needed")

    def refuses(tensors: object) -> list[torch.Tensor]:
        raise error

    assert make_test_data([torch.randn(8, 4)], refuses, always, "synthetic") == NoTestData(error)
