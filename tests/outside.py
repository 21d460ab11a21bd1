"""Checks artifacts independently: with only onnx, onnxruntime and numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime


def session(model_path: Path) -> onnxruntime.InferenceSession:
    onnx.checker.check_model(str(model_path), full_check=True)
    return onnxruntime.InferenceSession(str(model_path), providers=["CPUExecutionProvider"])


def run(model_path: Path, **inputs: Any) -> list[Any]:
    """Run the model on tensors or arrays by input name."""
    return list(session(model_path).run(None, {name: np.asarray(value) for name, value in inputs.items()}))


def shapes(model_path: Path) -> dict[str, list[Any]]:
    """Names and shapes of inputs and outputs, as the file declares them."""
    graph = onnx.load(str(model_path)).graph
    return {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }


def opset(model_path: Path) -> int:
    return next(o.version for o in onnx.load(str(model_path)).opset_import if o.domain == "")
