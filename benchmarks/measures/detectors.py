"""``fit`` with detectors of random weights: seconds, and the share of the modules' own runs."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import torchvision
from kit import loader, quiet, tell, trainer
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from lightning_onnx import ONNXExport

DETECTORS = {
    "retinanet": torchvision.models.detection.retinanet_resnet50_fpn,
    "fasterrcnn": torchvision.models.detection.fasterrcnn_mobilenet_v3_large_320_fpn,
}


class Detects(LightningModule):
    """Trains a detector, and measures the time in its calls."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: list[Tensor]) -> Any:
        """Run the detector."""
        return self.net(images)

    def training_step(self, batch: Any) -> Tensor:
        """Return the sum of the losses."""
        images, targets = batch
        return torch.stack(list(self.net(images, targets).values())).sum()

    def validation_step(self, batch: Any) -> None:
        """Run the detector."""
        self(batch[0])

    def configure_optimizers(self) -> Any:
        """Return plain SGD."""
        return torch.optim.SGD(self.parameters(), 1e-6)


def batch() -> Any:
    """Return two images with a box each."""
    target = {"boxes": torch.tensor([[10.0, 10.0, 60.0, 60.0]]), "labels": torch.tensor([1])}
    return [torch.rand(3, 128, 128) for _ in range(2)], [target, target]


def measure(net: nn.Module) -> tuple[float, float]:
    """Return the seconds of ``fit``, and those in calls of the detector."""
    spent, depth, original = 0.0, 0, type(net).forward

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
        nonlocal spent, depth
        depth, started = depth + 1, time.perf_counter()
        try:
            return original(self, *args, **kwargs)
        finally:
            depth -= 1
            if depth == 0 and not torch.compiler.is_exporting():
                spent += time.perf_counter() - started

    type(net).forward = forward  # type: ignore[method-assign]
    batches = [batch() for _ in range(3)]
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        trainer(directory, [ONNXExport(Path(directory) / "onnx")], max_epochs=1).fit(
            Detects(net), loader(batches), loader(batches)
        )
        took = time.perf_counter() - started
    type(net).forward = original  # type: ignore[method-assign]
    return took, spent


def main() -> None:
    """Print the numbers."""
    found = {}
    for name, make in DETECTORS.items():
        torch.manual_seed(0)
        took, spent = measure(make(weights=None, weights_backbone=None))
        found |= {f"{name}: seconds": took, f"{name}: own runs": spent / took}
    tell(found)


if __name__ == "__main__":
    quiet()
    main()
