"""scvi-tools: a variational autoencoder of cells that the library trains; the graph returns the mean of the latent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from tests.zoo.case import Case, spread
from tests.zoo.isolated.library import Library

GENES = 20


def _fit(callback: pl.Callback, directory: Path) -> pl.LightningModule:
    from scvi.data import synthetic_iid
    from scvi.model import SCVI
    from scvi.train import TrainingPlan

    class Encoding(TrainingPlan):
        """The library's LightningModule, with a method that, unlike ``forward``, draws no random numbers."""

        def encode(self, counts, batch_index):
            return self.module.inference(counts, batch_index)["qz"].loc

        def validation_step(self, batch: Any, batch_idx: int) -> None:
            super().validation_step(batch, batch_idx)
            self.encode(batch["X"], batch["batch"])

    class Encoder(SCVI):
        _training_plan_cls = Encoding

    cells = synthetic_iid(batch_size=30, n_genes=GENES)
    Encoder.setup_anndata(cells, batch_key="batch")
    model = Encoder(cells, n_hidden=16, n_latent=4, encode_covariates=True)
    model.train(
        max_epochs=1,
        batch_size=8,
        check_val_every_n_epoch=1,
        accelerator="cpu",
        callbacks=[callback],
        enable_progress_bar=False,
        logger=False,
        default_root_dir=str(directory),
    )
    assert model.trainer is not None
    return model.trainer.lightning_module


def _batch(size: int, variant: int) -> Any:
    return torch.randint(0, 9, (size, GENES)).float(), torch.randint(0, 2, (size, 1))


LIBRARY = Library(
    "scvi-tools",
    cases=(Case("scvi_tools/scvi", None, _batch, spread, fit=_fit, options={"method": "encode"}),),
)
