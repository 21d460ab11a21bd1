"""Writing new weights into a traced graph, in units of ``torch.save`` of the same weights, in turns."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torchvision
from kit import layers, quiet, tell
from torch import Tensor, nn

REPEATS = 9


def refresher(net: nn.Module, batch: Tensor, root: Path) -> Callable[[], None]:
    """Return what writes an artifact without checks and test data, with the package's own names for it."""
    try:
        from lightning_onnx.module.calls import matching
        from lightning_onnx.module.calls.observation import Observation
        from lightning_onnx.module.weights import copying, loading
        from lightning_onnx.module.weights.source import Source
        from lightning_onnx.pipeline.config import ExportConfig
        from lightning_onnx.pipeline.loaded import LoadedModule
        from lightning_onnx.pipeline.prepare import prepare
        from lightning_onnx.pipeline.produce import produce
    except ImportError:
        return _refresher_of_0_1(net, batch, root)
    copied = copying.private_copy(net)
    sample = matching.sample_of(net, "forward", ((batch,), {}))
    plan = prepare(copied, [Observation.of(sample, "")], ExportConfig(checks=(), test_data=None))

    def refresh() -> None:
        loading.load(copied, net.state_dict())
        produce(plan, LoadedModule(copied, Source()), root / "made", if_taken="replace")

    return refresh


def _refresher_of_0_1(net: nn.Module, batch: Tensor, root: Path) -> Callable[[], None]:
    from lightning_onnx.config import ExportConfig
    from lightning_onnx.observe import Observation

    from lightning_onnx import matching, pipeline, weights

    copied = weights.private_copy(net)
    sample = matching.sample_of(net, "forward", ((batch,), {}))
    plan = pipeline.prepare(copied, [Observation.of(sample, "")], ExportConfig(checks=(), test_data=None))

    def refresh() -> None:
        weights.load(copied, net.state_dict())
        pipeline.produce(plan, copied, root / "made", weights.Source(), replace=(root / "made").exists())

    return refresh


def ratio(net: nn.Module, batch: Tensor) -> float:
    """Return the ratio of the medians."""
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        refresh = refresher(net, batch, root)
        refresh()
        refreshed, saved = [], []
        for _ in range(REPEATS):
            with torch.no_grad():
                for parameter in net.parameters():
                    parameter.mul_(1.001)
            started = time.perf_counter()
            torch.save(net.state_dict(), root / "state.pt")
            saved.append(time.perf_counter() - started)
            started = time.perf_counter()
            refresh()
            refreshed.append(time.perf_counter() - started)
    return statistics.median(refreshed) / statistics.median(saved)


def main() -> None:
    """Print the ratios."""
    torch.manual_seed(0)
    small = torchvision.models.resnet18(weights=None).eval()
    tell(
        {
            "resnet18": ratio(small, torch.randn(2, 3, 64, 64)),
            "600 MB of Linear": ratio(layers(17, 3000), torch.randn(2, 3000)),
        }
    )


if __name__ == "__main__":
    quiet()
    main()
