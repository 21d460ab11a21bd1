"""``export()`` with parity in units of torch's own optimized export, in turns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from kit import quiet, tell
from torch import Tensor, nn

from lightning_onnx import export

REPEATS = 2


def encoder() -> tuple[nn.Module, Tensor]:
    """Return six layers of width 256 and a batch."""
    layer = nn.TransformerEncoderLayer(256, 8, 1024, batch_first=True)
    return nn.TransformerEncoder(layer, 6, enable_nested_tensor=False), torch.randn(4, 32, 256)


CASES: dict[str, Callable[[], tuple[nn.Module, Tensor]]] = {
    "resnet50": lambda: (torchvision.models.resnet50(weights=None), torch.randn(2, 3, 224, 224)),
    "vit_b_16": lambda: (torchvision.models.vit_b_16(weights=None), torch.randn(2, 3, 224, 224)),
    "encoder 6 x 256": encoder,
}


def ours(net: nn.Module, batch: Tensor, root: Path) -> None:
    """Export with this package."""
    assert export(net, batch, directory=root / "ours").proven


def theirs(net: nn.Module, batch: Tensor, root: Path) -> None:
    """Export with torch alone."""
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    path = str(root / "torch.onnx")
    torch.onnx.export(net, (batch,), path, dynamo=True, optimize=True, dynamic_shapes=dynamic, verbose=False)


def seconds(run: Callable[[nn.Module, Tensor, Path], None], net: nn.Module, batch: Tensor) -> float:
    """Return how long one export takes."""
    with tempfile.TemporaryDirectory() as directory:
        started = time.perf_counter()
        run(net, batch, Path(directory))
        return time.perf_counter() - started


def main() -> None:
    """Print the ratios of the fastest runs."""
    for run in (ours, theirs):  # imports and caches of torch
        seconds(run, nn.Linear(3, 2).eval(), torch.randn(4, 3))
    found = {}
    for name, make in CASES.items():
        torch.manual_seed(0)
        net, batch = make()
        times = [(seconds(theirs, net.eval(), batch), seconds(ours, net, batch)) for _ in range(REPEATS)]
        found[name] = min(own for _, own in times) / min(other for other, _ in times)
    tell(found)


if __name__ == "__main__":
    quiet()
    main()
