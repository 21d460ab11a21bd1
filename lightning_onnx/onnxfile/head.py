"""The head of an ONNX file: opsets, IR version and metadata, read without the graph."""

from __future__ import annotations

from pathlib import Path

import onnx

from lightning_onnx.onnxfile.wire import fields


def read_head(path: Path) -> onnx.ModelProto:
    """Read a model without its graph.

    Raises:
        InputError: If the file is not an ONNX model.
    """
    head = onnx.ModelProto()
    with path.open("rb") as file:
        for field in fields(file, 0, path.stat().st_size):
            if field.number != onnx.ModelProto.GRAPH_FIELD_NUMBER:
                head.MergeFromString(field.read_whole(file))
    return head


def opset_of(model: onnx.ModelProto) -> int | None:
    """Return the opset of ONNX's own operators; None if a model does not import it."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
