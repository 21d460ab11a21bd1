"""TODO."""

from __future__ import annotations

from pathlib import Path

import onnx

from lightning_onnx.onnxfile.wire import fields


def lower_ir_version(path: Path, model: onnx.ModelProto, highest: int) -> None:
    """Write a lower IR version into a model that this module has written, where its own is higher.

    What IR versions 9 to 14 added are types of numbers, and notes that older programs pass over.

    Args:
        path: The model; one byte of it changes.
        model: The same without weights, changed alike.
        highest: The highest IR version that is to stand there.
    """
    if model.ir_version <= highest:
        return
    field = onnx.ModelProto.IR_VERSION_FIELD_NUMBER << 3  # the first of the file, as numbers are written below 128
    with path.open("r+b") as file:
        assert file.read(2) == bytes((field, model.ir_version))
        file.seek(1)
        file.write(bytes((highest,)))
    model.ir_version = highest


def read_head(path: Path) -> onnx.ModelProto:
    """Read a model's opsets, IR version and metadata without its graph."""
    head = onnx.ModelProto()
    with path.open("rb") as file:
        for field in fields(file):
            head.MergeFromString(field)
    return head


def opset_of(model: onnx.ModelProto) -> int | None:
    """Return the opset of ONNX's own operators; None where a model has none of them."""
    return next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), None)
