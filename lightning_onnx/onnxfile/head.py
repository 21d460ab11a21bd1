"""The head of an ONNX file: opsets, IR version and metadata, read and changed without the graph."""

from __future__ import annotations

from pathlib import Path

import onnx

from lightning_onnx.onnxfile.wire import fields


def read_head(path: Path) -> onnx.ModelProto:
    """Read a model without its graph.

    Raises:
        InputError: If the file is no ONNX model.
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


def lower_ir_version(path: Path, model: onnx.ModelProto, highest: int) -> None:
    """Lower a file's IR version if it is higher than allowed.

    IR versions 9 to 14 added element types, and annotations that older programs ignore.

    Args:
        path: A file that ``lightning_onnx.onnxfile.writer`` has written; one byte of it changes.
        model: The same model without weights, changed alike.
        highest: The highest IR version that is allowed.
    """
    if model.ir_version <= highest:
        return
    key = onnx.ModelProto.IR_VERSION_FIELD_NUMBER << 3  # the file starts with it; below 128 a number is one byte
    with path.open("r+b") as file:
        assert file.read(2) == bytes((key, model.ir_version))
        file.seek(1)
        file.write(bytes((highest,)))
    model.ir_version = highest
