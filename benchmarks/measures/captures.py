"""How often a run captures the module."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from kit import counted_captures, loader, quiet, tell, trainer
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
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
    """Is refused by most captures, and preflight only warns."""

    def forward(self, x: Tensor) -> Tensor:
        """Decide by a value."""
        y = x.mean(1, keepdim=True) * self.net.weight[0, 0]
        if x.sum() > 0:
            return y * 2
        return y * 3


class Ends(Callback):
    """Notes how many captures there were before the end of training."""

    def __init__(self, refused: list[bool]) -> None:
        self.refused, self.number = refused, 0

    def on_train_epoch_end(self, *given: object) -> None:
        """Count."""
        self.number = len(self.refused)


def captures(module: Net, batches: list[Tensor], when: str, **options: Any) -> tuple[int, int]:
    """Train with four kept checkpoints; return the number of captures, and that of the refused ones at the end."""
    refused, end = counted_captures()
    ends = Ends(refused)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        callback = ONNXExport(root / "onnx", when=when, **options)
        kept = ModelCheckpoint(root / "kept", monitor="loss", save_top_k=-1)
        trainer(root, [ends, callback, kept], max_epochs=4).fit(module, loader(batches), loader(batches))
    end()
    return len(refused), sum(refused[ends.number :])


def main() -> None:
    """Print the numbers."""
    torch.manual_seed(0)
    batches = [torch.randn(4, 6), torch.randn(4, 6), torch.randn(3, 6)]
    tell(
        {
            "default": captures(Net(), batches, "fit_end")[0],
            "no checks, 4 checkpoints": captures(Net(), batches, "checkpoint", checks=())[0],
            "MetricParity, 4 checkpoints": captures(Net(), batches, "checkpoint", checks=[MetricParity()])[0],
            "a refused module: again": captures(Decides(), batches, "fit_end", preflight="warn")[1],
        }
    )


if __name__ == "__main__":
    quiet()
    main()
