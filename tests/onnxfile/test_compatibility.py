"""A target determines opset and IR version, and the manifest lists what can load the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from lightning_onnx import ConfigurationError, export
from lightning_onnx.onnxfile.compatibility import find_target, oldest_onnxruntime
from lightning_onnx.onnxfile.installed import opsets

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("target", "opset", "ir_version", "oldest"),
    [
        ("onnxruntime>=1.17", 20, 9, "1.17"),
        ("onnxruntime >= 1.16.3", 19, 9, "1.15"),
        ("onnxruntime>=1.14", 18, 8, "1.14"),
        ("onnxruntime>=1.13", 17, 8, "1.12"),
        ("tensorrt-10", 20, 10, "1.18"),
        ("ncnn", 22, 10, "1.21"),
        (None, 20, 10, "1.18"),
    ],
)
def test_the_file_fits_the_target(target: str | None, opset: int, ir_version: int, oldest: str, tmp_path: Path) -> None:
    made = export(
        nn.Sequential(nn.Linear(4, 3), nn.LayerNorm(3)), torch.randn(2, 4), directory=tmp_path / "a", target=target
    )
    model = onnx.load(made.model_path)
    onnx.checker.check_model(model, full_check=True)
    (found,) = (o.version for o in model.opset_import if o.domain == "")
    assert (found, model.ir_version) == (opset, ir_version)
    own = made.manifest["model"]
    assert (own["opset"], own["ir_version"], own["target"], own["oldest_onnxruntime"]) == (
        opset,
        ir_version,
        target,
        oldest,
    )
    assert f"onnxruntime {oldest} and later" in made.report.text()
    assert made.proven


def test_openvino_takes_the_highest_that_can_be_written() -> None:
    from lightning_onnx.pipeline.config import ExportConfig

    assert find_target("openvino").opset == 23
    assert ExportConfig(target="openvino").opset == min(23, opsets().highest)
    assert ExportConfig(target="openvino", engine="torchscript").opset == 20
    assert ExportConfig(target="openvino", opset_version=18).opset == 18


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"target": "onnxruntime"}, "is not known. Choose one of 'openvino'"),
        ({"target": "onnxruntime>=1.2"}, "from 1.8"),
        ({"target": "tensorrt"}, r"is not known: did you mean 'tensorrt-1[01]'\?"),
        ({"target": 3}, "is not known"),
        (
            {"target": "ncnn", "opset_version": 23},
            r"opset_version=23 is higher than target='ncnn' supports \(22\)",
        ),
    ],
)
def test_invalid_targets(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        export(nn.Linear(4, 3), torch.randn(2, 4), directory=tmp_path / "a", **options)


def test_the_table_holds_for_the_installed_onnxruntime() -> None:
    """The row of the installed version is correct."""
    value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy"]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    installed = ".".join(onnxruntime.__version__.split(".")[:2])
    target = find_target(f"onnxruntime>={installed}")
    for opset, ir_version in ((target.opset, 10), (18, target.ir_version)):
        made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)], ir_version=ir_version)
        session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
        np.testing.assert_array_equal(session.run(None, {"x": np.ones(1, np.float32)})[0], [1])


def test_oldest() -> None:
    assert oldest_onnxruntime({"ai.onnx": 13}, 6) == "1.8"
    assert oldest_onnxruntime({"": 15, "ai.onnx.ml": 5}, 8) == "1.18"
    assert oldest_onnxruntime({"": 99}, 8) is None
    assert oldest_onnxruntime({"": 18, "com.microsoft": 1}, 8) is None
