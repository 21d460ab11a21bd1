"""zuko: normalizing flows, trained on the likelihood; the graph is the density or the encoder."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tests.zoo.case import Case, Lit, spread
from tests.zoo.isolated.library import Library


class Density(Lit):
    """Returns the log-density of x under a flow, given c."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__()
        from zuko import flows

        self.flow = getattr(flows, kind)(features=3, context=4, hidden_features=(16, 16), **options)

    def forward(self, x, c):
        return self.flow(c).log_prob(x)

    def step(self, batch: Any) -> Tensor:
        return -self(*batch).mean()


class Latent(Density):
    """Returns what the flow makes of x."""

    def forward(self, x, c):
        return self.flow(c).transform(x)

    def step(self, batch: Any) -> Tensor:
        return -self.flow(batch[1]).log_prob(batch[0]).mean() + 0 * self(*batch).mean()


def _batch(size: int, variant: int) -> Any:
    return torch.randn(size, 3), torch.randn(size, 4)


LIBRARY = Library(
    "zuko",
    cases=(
        Case("zuko/maf", lambda: Density("MAF", transforms=2), _batch, spread),
        Case("zuko/nsf", lambda: Density("NSF", transforms=2), _batch, spread),
        Case("zuko/nsf_latent", lambda: Latent("NSF", transforms=2), _batch, spread),
    ),
)
