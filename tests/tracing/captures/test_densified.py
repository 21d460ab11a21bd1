"""Modules that keep sparse tensors: the file holds dense ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from tests import outside


class Smoothed(nn.Module):
    """Smooths rows of a table, or of its input, over a sparse graph."""

    def __init__(self, kind: str, layout: torch.layout) -> None:
        super().__init__()
        self.kind, self.table, self.layer = kind, nn.Embedding(12, 4), nn.Linear(12, 3)
        graph = (torch.rand(12, 12) * (torch.rand(12, 12) > 0.7)).to_sparse(layout=layout)
        if kind == "attribute":
            self.graph = graph
        else:
            self.register_buffer("graph", graph, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "unused":
            return self.layer(x)
        if self.kind == "inputs":
            return self.layer(torch.sparse.mm(self.graph, x.T).T)
        if self.kind == "operator":
            return self.layer((self.graph @ x.T).T)
        return x @ torch.sparse.mm(self.graph, self.table.weight)


COO, CSR = torch.sparse_coo, torch.sparse_csr


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Sparse")
@pytest.mark.parametrize(
    ("kind", "layout"),
    [("unused", COO), ("weights", COO), ("inputs", COO), ("operator", CSR), ("attribute", COO)],
)
def test_sparse_tensors(kind: str, layout: torch.layout, tmp_path: Path) -> None:
    module = Smoothed(kind, layout)
    made = lightning_onnx.export(module, torch.randn(4, 12), directory=tmp_path / "made")
    assert made.manifest["notes"] == []
    for rows in (1, 7):
        x = torch.randn(rows, 12)
        np.testing.assert_allclose(outside.run(made.model_path, x=x)[0], module(x).detach(), atol=1e-5)
    assert module.graph.layout is layout
