"""A run with 200 checkpoints: whether the last ones cost more than the first ones."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import torch
from captures import Net
from kit import loader, quiet, tell, trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from lightning_onnx import ONNXExport

NUMBER = 200


class Memory(Callback):
    """Notes the resident memory after each epoch, in pages."""

    def __init__(self) -> None:
        self.pages: list[int] = []

    def on_train_epoch_end(self, *given: object) -> None:
        """Read it."""
        self.pages.append(int(Path("/proc/self/statm").read_text().split()[1]))


def main() -> None:
    """Print the ratios of the medians."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as directory:
        root, memory = Path(directory), Memory()
        batches = [torch.randn(4, 6), torch.randn(3, 6)]
        callback = ONNXExport(root / "onnx", when="checkpoint")
        kept = ModelCheckpoint(root / "kept", save_top_k=-1, save_weights_only=True)
        trainer(root, [callback, kept, memory], max_epochs=NUMBER).fit(Net(), loader(batches))
        times = [artifact.scalars()["onnx/export_seconds"] for artifact in callback.artifacts]
    assert len(times) == NUMBER, len(times)
    first, last = statistics.median(times[1:21]), statistics.median(times[-20:])
    tell({"seconds each": last / first, "resident memory": memory.pages[-1] / memory.pages[20]})


if __name__ == "__main__":
    quiet()
    main()
