"""Metrics that options name and the validation loop does not log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch.utils.data import DataLoader

from lightning_onnx import Int8, MetricParity, ONNXExport, Parity
from lightning_onnx.training.named_metrics import problems


def test_the_nearest_metric_or_all_are_named() -> None:
    named = [("A", "val_mea"), ("B", "zzz"), ("C", "val_loss")]
    near, far = problems(named, ["val_loss", "val_mae"])
    assert near == "A names a metric that the validation loop did not log: did you mean 'val_mae'?"
    assert far == "B names a metric that the validation loop did not log. It logged val_loss, val_mae."
    assert problems(named[1:2], [])[0].endswith("It logged nothing.")


class Regression(LightningModule):
    """Stops before the export at the end: after the sanity check, or after the epoch if that logs nothing."""

    def __init__(self, logs_in_sanity_check: bool) -> None:
        super().__init__()
        self.logs_in_sanity_check = logs_in_sanity_check
        self.layer = torch.nn.Linear(3, 1)

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self.layer(batch["x"])

    def training_step(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return self(batch).square().mean()

    def validation_step(self, batch: dict[str, torch.Tensor], batch_idx: int) -> None:
        if self.logs_in_sanity_check or not self.trainer.sanity_checking:
            self.log("val_mae", self(batch).abs().mean())

    def on_train_start(self) -> None:
        if self.logs_in_sanity_check:
            raise ZeroDivisionError

    def on_train_epoch_end(self) -> None:
        raise ZeroDivisionError

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("logs_in_sanity_check", [True, False])
def test_a_typo_is_told_after_the_first_validation(
    trainer: Any, tmp_path: Path, recwarn: pytest.WarningsRecorder, logs_in_sanity_check: bool
) -> None:
    data = DataLoader([{"x": torch.ones(3)}] * 4, batch_size=2)  # type: ignore[arg-type]
    checks = [Parity(), MetricParity(tolerances={"val_mea": 1.0, "val_mae": 1.0})]
    callback = ONNXExport(tmp_path, checks=checks, variants=[Int8(metric="val_max")], preflight=False)
    with pytest.raises(ZeroDivisionError):
        trainer(callback).fit(Regression(logs_in_sanity_check), data, data)
    said = [str(w.message) for w in recwarn if "did not log" in str(w.message)]
    assert len(said) == 2
    assert "MetricParity(tolerances={'val_mea': ...}) names" in said[0]
    assert "did you mean 'val_mae'?" in said[0]
    assert "Int8(metric='val_max') names" in said[1]


class Finished(Regression):
    """Trains to its end."""

    def on_train_start(self) -> None:
        pass

    def on_train_epoch_end(self) -> None:
        pass


@pytest.mark.slow
def test_a_trace_after_a_failed_check_says_so(trainer: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    data = DataLoader([{"x": torch.ones(3)}] * 4, batch_size=2)  # type: ignore[arg-type]
    callback = ONNXExport(tmp_path, checks=[MetricParity(tolerances={"val_mea": 1.0})], weights="live")
    trainer(callback).fit(Finished(logs_in_sanity_check=True), data, data)
    assert "tracing Finished.forward again: metrics failed with the last trace" in caplog.text
    assert callback.artifact is not None
    (reason,) = (check.reason for check in callback.artifact.record.checks if check.name == "metrics")
    assert reason == "val_mea: it has a tolerance, but the validation loop does not log it: did you mean 'val_mae'?"
