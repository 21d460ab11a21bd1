"""How often a run captures the module."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from kit import counted_captures, loader, quiet, tell, trainer
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lightning_onnx import MetricParity, ONNXExport


class Net(LightningModule):
    """Logs a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Run the module."""
        return self.net(x).relu()

    def training_step(self, batch: Tensor) -> Tensor:
        """Return the loss."""
        loss = self(batch).square().mean()
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: Tensor) -> None:
        """Log the loss."""
        self.log("val_loss", self(batch).square().mean())

    def configure_optimizers(self) -> Any:
        """Return plain SGD."""
        return torch.optim.SGD(self.parameters(), 0.1)


class Decides(Net):
    """Is refused by captures that follow no values, and takes rows of any length."""

    def forward(self, x: Tensor) -> Tensor:
        """Decide by a value."""
        y = x.mean(1, keepdim=True) @ self.net.weight[:1, :1]
        if torch.isnan(y).any():
            y = torch.zeros_like(y)
        return y


def captures(module: Net, batches: list[Tensor], when: str, **options: Any) -> list[bool]:
    """Train with four kept checkpoints; tell for each capture whether it was refused."""
    refused, end = counted_captures()
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        callback = ONNXExport(root / "onnx", when=when, **options)
        kept = ModelCheckpoint(root / "kept", monitor="loss", save_top_k=-1)
        trainer(root, [callback, kept], max_epochs=4).fit(module, loader(batches), loader(batches))
    end()
    return refused


def main() -> None:
    """Print the numbers."""
    torch.manual_seed(0)
    batches = [torch.randn(4, 6), torch.randn(4, 6), torch.randn(3, 6)]
    varied = [torch.randn(4, 6), torch.randn(4, 6), torch.randn(4, 8)]
    same = sum(captures(Decides(), batches, "fit_end"))
    tell(
        {
            "default": len(captures(Net(), batches, "fit_end")),
            "no checks, 4 checkpoints": len(captures(Net(), batches, "checkpoint", checks=())),
            "MetricParity, 4 checkpoints": len(captures(Net(), batches, "checkpoint", checks=[MetricParity()])),
            "a dim comes to vary: again": max(0, sum(captures(Decides(), varied, "fit_end")) - same),
        }
    )


if __name__ == "__main__":
    quiet()
    main()
