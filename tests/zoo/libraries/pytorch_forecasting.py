"""pytorch-forecasting: networks made from a ``TimeSeriesDataSet``, trained with its dataloaders."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from tests.zoo.case import Arguments, Case
from tests.zoo.isolated.library import Library
from tests.zoo.run import trainer

ENCODER, PREDICTION = 12, 4


@functools.cache
def _dataset(name: str) -> Any:
    """Return the training data of a network: eight series, with what the network can use of a calendar."""
    from pytorch_forecasting import TimeSeriesDataSet
    from pytorch_forecasting.data import NaNLabelEncoder
    from pytorch_forecasting.data.examples import generate_ar_data

    data = generate_ar_data(seasonality=10.0, timesteps=40, n_series=8, seed=1)
    data["series"] = data["series"].astype(str).astype("category")
    data["month"] = (data["time_idx"] % 12).astype(str).astype("category")
    known: dict[str, Any] = {}
    if name != "NHiTS":
        known = {"static_categoricals": ["series"], "time_varying_known_reals": ["time_idx"]}
    if name == "TemporalFusionTransformer":
        known["time_varying_known_categoricals"] = ["month"]
    return TimeSeriesDataSet(
        data,
        time_idx="time_idx",
        target="value",
        group_ids=["series"],
        categorical_encoders={"series": NaNLabelEncoder().fit(data["series"])},
        min_encoder_length=ENCODER,
        max_encoder_length=ENCODER,
        min_prediction_length=PREDICTION,
        max_prediction_length=PREDICTION,
        time_varying_unknown_reals=["value"],
        **known,
    )


def _case(name: str, loss: str, **options: Any) -> Case:
    def fit(callback: pl.Callback, directory: Path) -> pl.LightningModule:
        import pytorch_forecasting
        from pytorch_forecasting import metrics

        dataset = _dataset(name)
        network = getattr(pytorch_forecasting, name).from_dataset(dataset, loss=getattr(metrics, loss)(), **options)
        training = dataset.to_dataloader(train=True, batch_size=8)
        validation = dataset.to_dataloader(train=False, batch_size=16)
        limits = {"limit_train_batches": 4, "limit_val_batches": 2, "gradient_clip_val": 0.1}
        trainer(callback, directory, **limits).fit(network, training, validation)
        return network

    def batch(size: int, variant: int) -> Any:
        return next(iter(_dataset(name).to_dataloader(train=False, batch_size=size)))

    def call(batch: Any) -> Arguments:
        return (batch[0],), {}

    return Case(f"pytorch_forecasting/{name.lower()}", None, batch, call, fit=fit)


LIBRARY = Library(
    "pytorch-forecasting",
    cases=(
        _case(
            "TemporalFusionTransformer", "QuantileLoss", hidden_size=8, hidden_continuous_size=4, attention_head_size=2
        ),
        _case("NHiTS", "SMAPE", hidden_size=16),
        _case("DeepAR", "NormalDistributionLoss", hidden_size=8, rnn_layers=2),
        _case("RecurrentNetwork", "SMAPE", hidden_size=8, rnn_layers=1),
        _case("DecoderMLP", "MAE", hidden_size=8),
    ),
)
