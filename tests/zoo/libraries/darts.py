"""darts: forecasting models fitted on its ``TimeSeries``; forward takes the library's dataclass with slots."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from tests.zoo.case import Case, whole
from tests.zoo.isolated.library import Library

INPUT, OUTPUT = 12, 4


def _series(seed: int, components: int = 1) -> Any:
    import numpy as np
    import pandas as pd
    from darts import TimeSeries

    chance = np.random.default_rng(seed)
    days = pd.date_range("2020-01-01", periods=60, freq="D")
    waves = np.sin(np.arange(60)[:, None] / 5) + 0.1 * chance.standard_normal((60, components))
    return TimeSeries.from_times_and_values(days, waves.astype(np.float32))


def _case(name: str, past: int = 0, future: int = 0, **options: Any) -> Case:
    """Return a case of a model, with so many components of past and of future covariates."""

    def fit(callback: pl.Callback, directory: Path) -> pl.LightningModule:
        from darts import models

        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
        model = getattr(models, name)(
            input_chunk_length=INPUT,
            n_epochs=1,
            batch_size=8,
            pl_trainer_kwargs=quiet | {"callbacks": [callback], "default_root_dir": directory},
            work_dir=str(directory),
            **options,
        )
        covariates = {
            f"{prefix}{when}_covariates": _series(seed, components)
            for prefix, seed in (("", 2), ("val_", 3))
            for when, components in (("past", past), ("future", future))
            if components
        }
        model.fit(_series(0), val_series=_series(1), **covariates)
        return model.model

    def batch(size: int, variant: int) -> Any:
        from darts.utils.data.torch_datasets.utils import PLModuleInput

        return PLModuleInput(
            past_target=torch.randn(size, INPUT, 1),
            past_covariates=torch.randn(size, INPUT, past) if past else None,
            historic_future_covariates=torch.randn(size, INPUT, future) if future else None,
            future_covariates=torch.randn(size, OUTPUT, future) if future else None,
        )

    return Case(f"darts/{name.lower()}", None, batch, whole, fit=fit)


LIBRARY = Library(
    "darts",
    cases=(
        _case("NHiTSModel", past=2, output_chunk_length=OUTPUT, num_blocks=1, layer_widths=16),
        _case(
            "TiDEModel",
            future=2,
            output_chunk_length=OUTPUT,
            hidden_size=16,
            temporal_width_future=2,
            use_reversible_instance_norm=True,
        ),
        _case("TFTModel", future=1, output_chunk_length=OUTPUT, hidden_size=8, num_attention_heads=2),
    ),
)
