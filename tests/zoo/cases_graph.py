"""Graph networks: PyTorch Geometric, and message passing written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from .case import Arguments, Case, Lit, any_loss, spread


def graph(graphs: int, v: int, features: int = 5, edge_features: int = 0) -> tuple[torch.Tensor, ...]:
    """Several graphs in one, as a DataLoader of PyTorch Geometric collates them."""
    nodes = [4 + (i + v) % 3 + 2 * v for i in range(graphs)]
    edges, start = [], 0
    for count in nodes:
        edges.append(torch.randint(0, count, (2, 2 * count + v)) + start)
        start += count
    edge_index = torch.cat(edges, 1)
    batch = torch.repeat_interleave(torch.arange(graphs), torch.tensor(nodes))
    found = (torch.randn(start, features), edge_index, batch)
    return (*found, torch.randn(edge_index.shape[1], edge_features)) if edge_features else found


def data(graphs: int, v: int) -> Any:
    from torch_geometric.data import Batch, Data

    made = []
    for i in range(graphs):
        count = 4 + (i + v) % 3 + 2 * v
        made.append(
            Data(x=torch.randn(count, 5), edge_index=torch.randint(0, count, (2, 2 * count + v)), y=torch.zeros(1))
        )
    return Batch.from_data_list(made)


class LitNodes(Lit):
    """Two layers on nodes: ``self(x, edge_index)``."""

    def __init__(self, layer: str, **options: Any) -> None:
        super().__init__()
        from torch_geometric import nn as geometric

        make = getattr(geometric, layer)
        self.a, self.b = make(5, 8, **options), make(8 * options.get("heads", 1), 3, **options)

    def forward(self, x, edge_index):
        return self.b(self.a(x, edge_index).relu(), edge_index)

    def step(self, batch):
        return any_loss(self(batch[0], batch[1]))


class LitGIN(Lit):
    """A graph's features are the sum over its nodes."""

    def __init__(self):
        super().__init__()
        from torch_geometric.nn import GINConv

        self.a = GINConv(nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8)))
        self.head = nn.Linear(8, 2)

    def forward(self, x, edge_index, batch):
        from torch_geometric.nn import global_add_pool

        return self.head(global_add_pool(self.a(x, edge_index), batch))

    def step(self, batch):
        return any_loss(self(*batch[:3]))


class LitData(Lit):
    """``self(data)`` with a Batch of PyTorch Geometric."""

    def __init__(self):
        super().__init__()
        from torch_geometric.nn import GCNConv

        self.conv, self.head = GCNConv(5, 8), nn.Linear(8, 2)

    def forward(self, data):
        from torch_geometric.nn import global_mean_pool

        h = self.conv(data.x, data.edge_index).relu()
        return self.head(global_mean_pool(h, data.batch)).squeeze(-1)

    def step(self, batch):
        return any_loss(self(batch))


class LitDataNodes(LitData):
    """``self(data)``, an output for each node."""

    def forward(self, data):
        return self.head(self.conv(data.x, data.edge_index).relu())


class LitTopK(Lit):
    """How many nodes are kept depends on how many each graph has."""

    def __init__(self):
        super().__init__()
        from torch_geometric.nn import GraphConv, TopKPooling

        self.a, self.pool, self.head = GraphConv(5, 8), TopKPooling(8, ratio=0.6), nn.Linear(16, 2)

    def forward(self, x, edge_index, batch):
        from torch_geometric.nn import global_max_pool, global_mean_pool

        x, _, _, batch, _, _ = self.pool(self.a(x, edge_index).relu(), edge_index, batch=batch)
        return self.head(torch.cat([global_mean_pool(x, batch), global_max_pool(x, batch)], 1))

    def step(self, batch):
        return any_loss(self(*batch))


class LitDenseBatch(Lit):
    """Nodes as a padded sequence for each graph, for attention among them."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True), nn.Linear(8, 2)
        self.embed = nn.Linear(5, 8)

    def forward(self, x, batch):
        from torch_geometric.utils import to_dense_batch

        nodes, real = to_dense_batch(self.embed(x), batch)
        return self.head(self.encoder(nodes, src_key_padding_mask=~real)[real])

    def step(self, batch):
        return any_loss(self(batch[0], batch[2]))


class LitEdges(Lit):
    """Edges have features."""

    def __init__(self):
        super().__init__()
        from torch_geometric.nn import GINEConv

        self.a = GINEConv(nn.Sequential(nn.Linear(5, 8), nn.ReLU()), edge_dim=3)
        self.head = nn.Linear(8, 2)

    def forward(self, x, edge_index, edge_attr):
        return self.head(self.a(x, edge_index, edge_attr))

    def step(self, batch):
        x, edge_index, _, edge_attr = batch
        return any_loss(self(x, edge_index, edge_attr))


class LitMessages(Lit):
    """Message passing by hand: gather, index_add, degrees; and a pool of a known number of graphs."""

    def __init__(self):
        super().__init__()
        self.message, self.update, self.head = nn.Linear(10, 8), nn.GRUCell(8, 5), nn.Linear(5, 2)

    def forward(self, x, edge_index, batch):
        source, target = edge_index
        for _ in range(2):
            m = self.message(torch.cat([x[source], x[target]], -1)).relu()
            total = torch.zeros(x.shape[0], 8, device=x.device).index_add_(0, target, m)
            degree = torch.zeros(x.shape[0], device=x.device).scatter_add_(
                0, target, torch.ones_like(target, dtype=x.dtype)
            )
            x = self.update(total / degree.clamp(min=1)[:, None], x)
        return self.head(x)

    def step(self, batch):
        return any_loss(self(*batch))


class LitDense(Lit):
    """Dense adjacency with a mask: (batch, nodes, nodes)."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x, adj):
        adj = adj + torch.eye(adj.size(-1), device=adj.device)
        scale = adj.sum(-1, keepdim=True).clamp(min=1).rsqrt()
        return self.b((adj * scale * scale.transpose(1, 2)) @ self.a(x).relu()).mean(1)

    def step(self, batch):
        return any_loss(self(*batch))


def dense(b: int, v: int) -> tuple[torch.Tensor, torch.Tensor]:
    n = 5 + 2 * v
    return torch.randn(b, n, 4), (torch.rand(b, n, n) > 0.5).float()


def geometric(
    name: str, make: Callable[[], Any], batch: Callable[[int, int], Any], call: Callable[[Any], Arguments], **more: Any
) -> Case:
    return Case(f"graph/{name}", make, batch, call, True, needs=("torch_geometric",), **more)


def nodes(batch: Any) -> Arguments:
    return batch[:2], {}


CASES = [
    geometric("gcn", lambda: LitNodes("GCNConv"), graph, nodes),
    geometric("gat", lambda: LitNodes("GATConv", heads=2), graph, nodes),
    geometric("gatv2", lambda: LitNodes("GATv2Conv"), graph, nodes),
    geometric("sage", lambda: LitNodes("SAGEConv"), graph, nodes),
    geometric("transformer_conv", lambda: LitNodes("TransformerConv"), graph, nodes),
    geometric("gin_pooled", LitGIN, graph, spread),
    geometric(
        "gine_edges",
        LitEdges,
        lambda b, v: graph(b, v, edge_features=3),
        lambda batch: ((batch[0], batch[1], batch[3]), {}),
    ),
    geometric("data_object_nodes", LitDataNodes, data, lambda batch: ((batch,), {})),
    geometric("data_object_pooled", LitData, data, lambda batch: ((batch,), {})),
    geometric("topk_pooled", LitTopK, graph, spread),
    geometric("dense_batch", LitDenseBatch, graph, lambda batch: ((batch[0], batch[2]), {})),
    Case("graph/messages_by_hand", LitMessages, graph, spread, True),
    Case("graph/dense_adjacency", LitDense, dense, spread, True),
]
