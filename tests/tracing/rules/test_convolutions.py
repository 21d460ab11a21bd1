"""3D convolutions without bias."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

import lightning_onnx
from tests import outside
from tests.tracing.making import as_torch_writes


def test_a_batch_norm_is_folded_into_it(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv3d(3, 8, (3, 1, 3), padding=(1, 0, 1), stride=(1, 2, 1), bias=False), nn.BatchNorm3d(8))
    nn.init.uniform_(net[1].running_mean)
    artifact = lightning_onnx.export(net, torch.randn(2, 3, 4, 8, 8), directory=tmp_path / "made")
    model = onnx.load(artifact.model_path)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    assert {i.name: list(i.dims) for i in model.graph.initializer}["0.bias"] == [8]
    x = torch.randn(5, 3, 4, 8, 8)
    with torch.no_grad():
        np.testing.assert_allclose(outside.run(artifact.model_path, input=x)[0], net.eval()(x), atol=1e-5)


def test_an_image_without_batch(tmp_path: Path) -> None:
    net, x = nn.Conv3d(3, 8, 3, padding="same", groups=1, bias=False), torch.randn(3, 4, 8, 8)
    artifact = lightning_onnx.export(net, x, directory=tmp_path / "made", dynamic_axes={})
    with torch.no_grad():
        np.testing.assert_allclose(outside.run(artifact.model_path, input=x)[0], net(x), atol=1e-5)


@pytest.mark.xfail(strict=True, reason="the exporter writes a bias of shape (channels, 2)")
def test_the_exporter_alone() -> None:
    program = torch.export.export(nn.Conv3d(3, 8, 3, bias=False), (torch.randn(2, 3, 4, 8, 8),))
    written = as_torch_writes(program).model_proto
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in written.graph.value_info}
    (conv,) = (node for node in written.graph.node if node.op_type == "Conv")
    assert len(conv.input) == 2 or shapes[conv.input[2]] == [8]
