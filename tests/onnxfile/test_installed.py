"""The installed packages do what they claim to support."""

from __future__ import annotations

import onnx.defs

from lightning_onnx import opsets


def test_the_ranges_of_all_packages() -> None:
    table = opsets()
    assert table.default == 20
    assert table.engines["torchscript"] == (9, 20)
    assert table.engines["dynamo"][0] == 17
    assert table.lowest == 9
    assert table.onnx == (1, onnx.defs.onnx_opset_version())
    assert table.highest <= table.onnx[1]
    assert table.onnxruntime[1] >= 23
