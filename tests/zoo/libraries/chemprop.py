"""chemprop: message passing on molecules, trained with its datasets; the batch is its dataclass of graphs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from tests.zoo.case import Arguments, Case
from tests.zoo.isolated.library import Library
from tests.zoo.run import trainer

MOLECULES = ("CCO", "CC(=O)O", "c1ccccc1", "CCN", "C1CCOC1", "CC(C)Cl", "OC=O", "CCCC", "CC#N", "NCC(=O)O")


def _dataset(count: int, start: int = 0) -> Any:
    from chemprop import data

    names = [MOLECULES[(start + number) % len(MOLECULES)] for number in range(count)]
    return data.MoleculeDataset([data.MoleculeDatapoint.from_smi(name, [float(len(name))]) for name in names])


def _batch(size: int, variant: int) -> Any:
    from chemprop.data import collate_batch

    dataset = _dataset(size, start=3 * variant)
    return collate_batch([dataset[number] for number in range(size)])


def _arguments(batch: Any) -> Arguments:
    return (batch.bmg, batch.V_d, batch.X_d), {}


def _bonds() -> pl.LightningModule:
    """The network of chemprop's documentation on training."""
    from chemprop import models, nn

    return models.MPNN(nn.BondMessagePassing(d_h=16), nn.MeanAggregation(), _predictor(), batch_norm=True)


def _atoms() -> pl.LightningModule:
    from chemprop import models, nn

    aggregation = nn.AttentiveAggregation(output_size=16)
    return models.MPNN(nn.AtomMessagePassing(d_h=16, depth=2), aggregation, _predictor())


def _predictor() -> Any:
    """Return the head, which undoes the scaling of the targets in eval mode."""
    from chemprop import nn

    return nn.RegressionFFN(input_dim=16, hidden_dim=16, output_transform=nn.UnscaleTransform([5.0], [2.0]))


def _fit(make: Callable[[], pl.LightningModule]) -> Callable[[pl.Callback, Path], pl.LightningModule]:
    def fit(callback: pl.Callback, directory: Path) -> pl.LightningModule:
        from chemprop.data import build_dataloader

        training, validation = _dataset(14), _dataset(7, start=2)
        scaler = training.normalize_targets()
        validation.normalize_targets(scaler)
        module = make()
        trainer(callback, directory).fit(
            module,
            build_dataloader(training, batch_size=4),
            build_dataloader(validation, batch_size=4, shuffle=False),
        )
        return module

    return fit


LIBRARY = Library(
    "chemprop",
    cases=(
        Case("chemprop/bonds", None, _batch, _arguments, True, fit=_fit(_bonds)),
        Case("chemprop/atoms", None, _batch, _arguments, True, fit=_fit(_atoms)),
    ),
)
