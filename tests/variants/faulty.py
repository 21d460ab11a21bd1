"""Faulty variants, and the functions that they call in their process."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import onnx

from lightning_onnx.variants.base import Making


@dataclasses.dataclass(frozen=True)
class Faulty:
    """Writes the result of a function of this file."""

    function: str
    name: str = "faulty"
    max_difference: float | None = None
    max_metric_drop: float = 0.01
    metric: str | None = None
    needs_validation: bool = False

    def make(self, making: Making, destination: Path) -> list[str]:
        making.call(f"tests.variants.faulty:{self.function}", str(making.model_path), str(destination))
        return []


def copy(source: str, destination: str) -> None:
    onnx.save(onnx.load(source), destination)


def crash(source: str, destination: str) -> None:
    Path(destination).write_bytes(b"half")
    os.abort()


def nothing(source: str, destination: str) -> None:
    pass


def renamed(source: str, destination: str) -> None:
    model = onnx.load(source)
    was, model.graph.output[0].name = model.graph.output[0].name, "other"
    for node in model.graph.node:
        node.output[:] = ["other" if name == was else name for name in node.output]
    onnx.save(model, destination)


def static(source: str, destination: str) -> None:
    model = onnx.load(source)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2
    onnx.save(model, destination)


def later_opset(source: str, destination: str) -> None:
    model = onnx.load(source)
    model.opset_import[0].version += 1
    onnx.save(model, destination)


def without_metadata(source: str, destination: str) -> None:
    model = onnx.load(source)
    model.ClearField("metadata_props")
    onnx.save(model, destination)


def telling(source: str, destination: str) -> None:
    model = onnx.load(source)
    model.graph.node[0].doc_string = "made in /home/somebody/models"
    onnx.save(model, destination)


def invalid(source: str, destination: str) -> None:
    model = onnx.load(source)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, destination)


def other_weights(source: str, destination: str) -> None:
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values * 1.5, tensor.name))
    onnx.save(model, destination)


def raising(source: str, destination: str) -> None:
    raise ValueError(f"cannot convert {source}")
