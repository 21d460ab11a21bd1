"""State of a module that begins without any is not in the graph; what the first call learns is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lightning_onnx import ONNXExport
from lightning_onnx.module.weights import leftover
from tests import outside


class Stream(pl.LightningModule):
    """Keeps the hidden state of its recurrent layer from one batch to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = nn.GRU(3, 4, batch_first=True)
        self.hidden = None
        self.mean: Any = None
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        if self.mean is None:  # learned from the first batch
            self.mean = x.mean((0, 1)).detach() + 1.0
        if self.hidden is None or self.hidden.shape[1] != len(x):
            self.hidden = torch.zeros(1, len(x), 4, device=x.device)
        y, hidden = self.recurrent(x - self.mean, self.hidden)
        self.hidden = hidden.detach()
        return y[:, -1]

    def training_step(self, batch: Any) -> Any:
        return (self(batch) - 1).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["dynamo", "torchscript"])
def test_the_graph_begins_as_the_module_does(engine: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Stream()
    export = ONNXExport(engine=engine)
    loader = DataLoader([torch.randn(8, steps, 3) for steps in (5, 7, 9)], batch_size=None)
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[export],
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, loader)
    assert module.hidden is not None
    assert export.artifact is not None
    assert export.artifact.passed
    assert any("(hidden); the graph begins without it" in note for note in export.artifact.record.notes)
    module.eval()
    for rows, steps in ((8, 5), (8, 12), (3, 7)):
        x = torch.randn(rows, steps, 3)
        module.hidden = None
        with torch.no_grad():
            expected = module(x)
        (y,) = outside.run(export.artifact.model_path, x=x)
        torch.testing.assert_close(torch.from_numpy(y), expected, rtol=1e-4, atol=1e-5)


def test_only_attributes_that_begin_as_none_are_reset() -> None:
    module = nn.Sequential(Stream())
    places = [("0", "hidden"), ("0", "mean"), ("0", "calls"), ("1", "hidden")]
    found = leftover.begins_as_none(module, places)
    assert found == (("0", "hidden"), ("0", "mean"))
    stream: Any = module[0]
    stream.hidden = stream.mean = torch.ones(1)
    leftover.reset(module, [("0", "hidden"), ("1", "hidden")])
    assert stream.hidden is None
    assert stream.mean is not None
