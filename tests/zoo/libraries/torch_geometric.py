"""torch_geometric: networks on batches of graphs, trained with its DataLoader or LightningDataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from tests.zoo.case import Arguments, Case, Lit, any_loss
from tests.zoo.isolated.library import Library
from tests.zoo.run import trainer

FEATURES, CLASSES = 5, 3


def _graphs(count: int, seed: int) -> list[Any]:
    from torch_geometric.data import Data

    chance = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        nodes = int(torch.randint(4, 9, (), generator=chance))
        edges = torch.randint(0, nodes, (2, 3 * nodes), generator=chance)
        x = torch.randn(nodes, FEATURES, generator=chance)
        found.append(Data(x=x, edge_index=edges, y=torch.randint(0, CLASSES, (1,), generator=chance)))
    return found


class GraphClassifier(Lit):
    """The library's example for Lightning: a network of its models, a pooling, and a batch of graphs."""

    def __init__(self, network: str, **options: Any) -> None:
        super().__init__()
        from torch_geometric import nn as graph_nn

        self.net = getattr(graph_nn, network)(FEATURES, 16, num_layers=2, **options)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x, edge_index, batch):
        from torch_geometric.nn import global_mean_pool

        return self.head(global_mean_pool(self.net(x, edge_index), batch))

    def step(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(batch.x, batch.edge_index, batch.batch), batch.y)


class NodeClassifier(GraphClassifier):
    """Scores nodes; forward takes the library's batch."""

    def forward(self, data):
        return self.head(self.net(data.x, data.edge_index))

    def step(self, batch: Any) -> Tensor:
        return any_loss(self(batch))


def _batch(size: int, variant: int) -> Any:
    from torch_geometric.data import Batch

    return Batch.from_data_list(_graphs(size, seed=size + 10 * variant))


def _tensors(batch: Any) -> Arguments:
    return (batch.x, batch.edge_index, batch.batch), {}


def _case(name: str, network: str, module: type[GraphClassifier] = GraphClassifier, **options: Any) -> Case:
    def fit(callback: pl.Callback, directory: Path) -> pl.LightningModule:
        from torch_geometric.loader import DataLoader

        lit = module(network, **options)
        loaders = [DataLoader(_graphs(10, seed), batch_size=4, shuffle=seed == 0) for seed in (0, 1)]
        trainer(callback, directory).fit(lit, *loaders)
        return lit

    call = _tensors if module is GraphClassifier else lambda batch: ((batch,), {})
    return Case(f"torch_geometric/{name}", None, _batch, call, True, fit=fit)


LIBRARY = Library(
    "torch-geometric",
    cases=(
        _case("gcn", "GCN"),
        _case("gin", "GIN"),
        _case("gat_v2", "GAT", v2=True, heads=2),
        _case("pna", "PNA", aggregators=["mean", "max", "std"], scalers=["identity", "amplification"],
              deg=torch.tensor([0, 4, 8, 4, 2])),
        _case("sage_nodes", "GraphSAGE", NodeClassifier),
    ),
)  # fmt: skip
