"""The modules that tests share; each makes its own batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader


class Calls(nn.Module):
    """Calls a function."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def loss_of(output: Any) -> Tensor:
    tensors = [t for t in torch.utils._pytree.tree_leaves(output) if isinstance(t, Tensor) and t.is_floating_point()]
    return sum(((t.float() ** 2).mean() for t in tensors), torch.zeros(()))


class Base(LightningModule):
    """Trains on whatever forward gives for the batch."""

    lr = 0.1

    def call(self, batch: Any) -> Any:
        return self(batch[0])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return loss_of(self.call(batch))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.lr)


class Validated(Base):
    validation_loss = True

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", loss_of(self.call(batch)))


def loader(batch_size: int = 4, rows: int = 8, features: int = 6) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, features, generator=generator)
    return DataLoader(torch.utils.data.TensorDataset(x, torch.zeros(rows)), batch_size=batch_size)


class Classifier(Validated):
    """Linear, BatchNorm, Dropout: different in training mode, and with statistics that training changes."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def batches(self) -> DataLoader[Any]:
        return loader()


class VAE(Validated):
    """Two methods that are called in training; both use ``mix``."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Linear(6, 6)
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(2, 6)

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        mean, log_variance = self.encoder(self.mix(x)).chunk(2, -1)
        return {"mean": mean, "log_variance": log_variance}

    def decode(self, z: Tensor) -> Tensor:
        return self.mix(self.decoder(z).tanh())

    def call(self, batch: Any) -> Tensor:
        code = self.encode(batch[0])
        z = code["mean"] + torch.randn_like(code["mean"]) * code["log_variance"].mul(0.5).exp()
        return self.decode(z) - batch[0]

    def batches(self) -> DataLoader[Any]:
        return loader()


class EqualAtInit(Validated):
    """Parameters that are equal when training starts and differ afterwards."""

    lr = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 6), nn.Linear(6, 6)
        for layer in (self.a, self.b):
            nn.init.eye_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.norms = nn.ModuleList([nn.LayerNorm(6), nn.LayerNorm(6)])

    def forward(self, x: Tensor) -> Tensor:
        return self.norms[1](self.b(self.norms[0](self.a(x)).relu()) + 2 * x)

    def batches(self) -> DataLoader[Any]:
        return loader()


class Heads(NamedTuple):
    logits: Tensor
    embedding: Tensor


class Tokens(Validated):
    """Variable length, ids and a mask by keyword, a named tuple out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Heads:
        h = self.embedding(ids)
        if mask is not None:
            h = h * mask.unsqueeze(-1)
        pooled = h.sum(1)
        return Heads(self.head(pooled), pooled)

    def call(self, batch: Any) -> Any:
        return self(batch["ids"], mask=batch["mask"])

    def batches(self) -> DataLoader[Any]:
        def batch(length: int) -> dict[str, Tensor]:
            mask = torch.ones(4, length, dtype=torch.bool)
            mask[0, -1] = False
            return {"ids": torch.randint(0, 20, (4, length)), "mask": mask, "label": torch.zeros(4)}

        return DataLoader([batch(5), batch(9)], batch_size=None)


class NeverCallsForward(Base):
    """Steps that use submodules; forward is for deployment."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(6, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).relu())

    def call(self, batch: Any) -> Any:
        return self.head(self.body(batch[0]).relu())

    def batches(self) -> DataLoader[Any]:
        return loader()


class Random(Validated):
    """Draws random numbers in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.rand_like(x)

    def batches(self) -> DataLoader[Any]:
        return loader()


class CannotExport(Validated):
    """Python control flow on a value, which no engine can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        h = self.layer(x)
        return torch.linalg.eigvals(h.T @ h).abs() + h.mean()

    def batches(self) -> DataLoader[Any]:
        return loader()
