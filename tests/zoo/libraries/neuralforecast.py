"""neuralforecast: models that its own class trains; forward takes a dict of windows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from tests.zoo.case import Arguments, Case
from tests.zoo.isolated.library import Library

HORIZON, WINDOW = 4, 16


def _series() -> Any:
    import numpy as np
    import pandas as pd

    chance = np.random.default_rng(0)
    days = pd.date_range("2020-01-01", periods=80, freq="D")
    waves = [np.sin(np.arange(80) / 5 + shift) + 0.1 * chance.standard_normal(80) for shift in range(4)]
    return pd.concat(pd.DataFrame({"unique_id": str(i), "ds": days, "y": wave}) for i, wave in enumerate(waves))


def _case(name: str, **options: Any) -> Case:
    def fit(callback: pl.Callback, directory: Path) -> pl.LightningModule:
        import neuralforecast
        from neuralforecast import models

        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False, "accelerator": "cpu"}
        model = getattr(models, name)(
            h=HORIZON,
            input_size=WINDOW,
            max_steps=8,
            val_check_steps=4,
            batch_size=4,
            windows_batch_size=8,
            callbacks=[callback],
            default_root_dir=directory,
            enable_checkpointing=False,
            **quiet,
            **options,
        )
        forecast = neuralforecast.NeuralForecast(models=[model], freq="D")
        forecast.fit(df=_series(), val_size=HORIZON)
        trained = forecast.models[0]  # a copy of the model, with a copy of the callback
        vars(callback).update(vars(trained.trainer_kwargs["callbacks"][0]))
        return trained

    return Case(f"neuralforecast/{name.lower()}", None, _windows, _windows_only, fit=fit)


def _windows(size: int, variant: int) -> Any:
    windows = {"insample_y": torch.randn(size, WINDOW, 1), "insample_mask": torch.ones(size, WINDOW, 1)}
    return windows | dict.fromkeys(("futr_exog", "hist_exog", "stat_exog"))


def _windows_only(windows: Any) -> Arguments:
    return (windows,), {}


LIBRARY = Library(
    "neuralforecast",
    cases=(
        _case("NHITS", mlp_units=[[16, 16]] * 3),
        _case("TFT", hidden_size=8),
        _case("PatchTST", hidden_size=8, n_heads=2, encoder_layers=1, linear_hidden_size=16, patch_len=8, stride=4),
    ),
)
