"""Refused captures in a run of a network whose captures are mostly refused (needs pytorch-forecasting)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from kit import counted_captures, quiet, tell, trainer
from lightning.pytorch.callbacks import Callback

from lightning_onnx import ONNXExport


class Ends(Callback):
    """Notes how many captures were refused before the end of training."""

    def __init__(self, refused: list[bool]) -> None:
        self.refused, self.before_the_end = refused, 0

    def on_train_epoch_end(self, *given: object) -> None:
        """Count."""
        self.before_the_end = sum(self.refused)


def main() -> None:
    """Print the numbers."""
    from pytorch_forecasting import TemporalFusionTransformer, TimeSeriesDataSet
    from pytorch_forecasting.data.examples import generate_ar_data

    torch.manual_seed(0)
    data = generate_ar_data(seasonality=10.0, timesteps=40, n_series=8, seed=1)
    data["series"] = data["series"].astype(str).astype("category")
    series = TimeSeriesDataSet(
        data,
        time_idx="time_idx",
        target="value",
        group_ids=["series"],
        max_encoder_length=12,
        max_prediction_length=4,
        static_categoricals=["series"],
        time_varying_known_reals=["time_idx"],
        time_varying_unknown_reals=["value"],
    )
    network = TemporalFusionTransformer.from_dataset(series, hidden_size=8, attention_head_size=1)
    refused, end = counted_captures()
    ends = Ends(refused)
    with tempfile.TemporaryDirectory() as directory:
        callback = ONNXExport(Path(directory) / "onnx")
        batches = series.to_dataloader(train=True, batch_size=16, num_workers=0)
        trainer(directory, [ends, callback], max_epochs=1, limit_train_batches=2).fit(network, batches)
    end()
    tell({"refused": sum(refused), "again": sum(refused) - ends.before_the_end})


if __name__ == "__main__":
    quiet()
    main()
