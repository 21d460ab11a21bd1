"""pytorch-metric-learning: an embedding trained with a miner and a loss, and a head with weights of its own."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tests.zoo.case import Case, Lit, first, spread
from tests.zoo.isolated.library import Library


class Embedding(Lit):
    """An embedding under a triplet loss with mined triplets."""

    def __init__(self) -> None:
        super().__init__()
        from pytorch_metric_learning import losses, miners

        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 8)
        )
        self.loss, self.miner = losses.TripletMarginLoss(margin=0.2), miners.MultiSimilarityMiner()

    def forward(self, x):
        return nn.functional.normalize(self.net(x), dim=-1)

    def step(self, batch: Any) -> Tensor:
        embeddings = self(batch[0])
        return self.loss(embeddings, batch[1], self.miner(embeddings, batch[1]))


class ArcFace(Embedding):
    """The loss holds the classes' weights, and its logits are the output."""

    def __init__(self) -> None:
        super().__init__()
        from pytorch_metric_learning import losses

        self.loss = losses.ArcFaceLoss(num_classes=3, embedding_size=8)

    def forward(self, x):
        return self.loss.get_logits(super().forward(x))

    def step(self, batch: Any) -> Tensor:
        return self.loss(Embedding.forward(self, batch[0]), batch[1])


class Distances(Embedding):
    """Compares queries with references."""

    def __init__(self) -> None:
        super().__init__()
        from pytorch_metric_learning import distances

        self.distance = distances.CosineSimilarity()

    def forward(self, query, reference):
        return self.distance(self.net(query), self.net(reference))

    def step(self, batch: Any) -> Tensor:
        return self(*batch).square().mean()


def _batch(size: int, variant: int) -> Any:
    return torch.randn(size, 1, 16, 16), torch.arange(size) % 3


def _pairs(size: int, variant: int) -> Any:
    return torch.randn(size, 1, 16, 16), torch.randn(size + (2, 5, 8)[variant], 1, 16, 16)


LIBRARY = Library(
    "pytorch-metric-learning",
    cases=(
        Case("pytorch_metric_learning/triplets", Embedding, _batch, first),
        Case("pytorch_metric_learning/arcface", ArcFace, _batch, first),
        Case("pytorch_metric_learning/distances", Distances, _pairs, spread, True),
    ),
)
