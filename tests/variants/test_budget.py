"""How much worse a metric may get."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import ConfigurationError, Float16, Int8
from lightning_onnx.checks.base import CheckResult
from lightning_onnx.variants import budget, judging

ROWS = {
    "val_acc": {"module": 0.9, "onnx": 0.85, "status": "failed"},
    "val_f1": {"module": 0.8, "onnx": 0.9, "status": "failed"},
    "val_loss": {"module": 2.0, "onnx": 2.5, "status": "failed"},
    "val_map": {"module": None, "onnx": None, "status": "skipped"},
}


@pytest.mark.parametrize(
    ("drop", "metric", "status", "scalar"),
    [
        (0.01, None, "failed", 0.05),
        (0.06, None, "passed", 0.05),
        (0.01, "val_f1", "passed", -0.1),
        (0.2, "val_loss", "failed", 0.25),
        (0.3, "val_loss", "passed", 0.25),
    ],
)
def test_the_budget(drop: float, metric: str | None, status: str, scalar: float) -> None:
    found = budget.judge(Int8(max_metric_drop=drop, metric=metric), ROWS)
    assert found.status == status
    assert found.scalars["metric_drop"] == pytest.approx(scalar)
    rows = found.figures["metrics"]
    assert list(rows) == ["val_acc", "val_f1", "val_loss"]
    assert rows["val_loss"]["drop"] == pytest.approx(0.25)  # a quarter of the module's
    judged = {name for name, row in rows.items() if row["status"] != "not judged"}
    assert judged == ({metric} if metric else {"val_acc", "val_f1"})


def test_the_reason_has_the_figures() -> None:
    reason = budget.judge(Int8(), ROWS).reason
    assert reason == "val_acc is 0.85, the module's is 0.9: worse by 0.05; 0.01 is allowed"
    reason = budget.judge(Int8(metric="val_loss"), ROWS).reason
    assert reason == "val_loss is 2.5, the module's is 2: worse by 0.25 of it; 0.01 is allowed"


def test_losses_decide_if_there_is_no_other_metric() -> None:
    assert budget.judge(Int8(), {"val_loss": ROWS["val_loss"]}).status == "failed"
    none = budget.judge(Int8(), {"val_map": ROWS["val_map"]})
    assert (none.status, none.reason) == ("skipped", "the validation loop logs no metric")


def test_a_metric_that_is_not_logged_fails() -> None:
    found = budget.judge(Int8(metric="top1"), ROWS)
    assert found.status == "failed"
    assert found.reason is not None
    assert "val_acc, val_f1, val_loss" in found.reason


@pytest.mark.parametrize("value", [float("nan"), None, float("inf")])
def test_nan_does_not_pass(value: Any) -> None:
    found = budget.judge(Int8(), {"val_acc": {"module": 0.9, "onnx": value, "status": "passed"}})
    assert found.status == "failed"
    assert (
        found.reason
        == "val_acc is a non-finite number, the module's is 0.9: worse by a non-finite number; 0.01 is allowed"
    )


def judged(variant: Int8, modes: Any = MappingProxyType({}), **metrics: tuple[float, float]) -> CheckResult:
    """Judge metrics, given as the module's value and the variant's."""
    rows = {name: {"module": own, "onnx": other, "status": "passed"} for name, (own, other) in metrics.items()}
    return budget.judge(variant, rows, None, modes)


def test_a_ruined_regression_fails_under_any_name_of_an_error() -> None:
    for name in ("val_l1", "val_medae", "val_pinball", "val_deviance", "val_logcosh", "val_poisson", "unheard_of"):
        assert judged(Int8(), **{name: (0.62, 1.01)}).status == "failed"
    assert judged(Int8(), val_l1=(1.01, 0.62)).status == "passed"
    assert judged(Int8(), val_l1=(3.694, 3.671)).status == "passed"


@pytest.mark.parametrize("other", ["val_r2", "val_pearson", "val_score", "unheard_of", "val_l1"])
def test_only_a_share_of_samples_makes_losses_unimportant(other: str) -> None:
    found = judged(Int8(), val_loss=(0.0425, 0.1028), **{other: (0.9, 0.9)})
    assert found.status == "failed"
    assert found.reason is not None
    assert found.reason.startswith("val_loss is 0.1028")
    assert judged(Int8(), val_loss=(0.0425, 0.1028), val_acc=(0.9, 0.9)).status == "passed"
    assert judged(Int8(), val_mae=(0.0425, 0.1028), val_acc=(0.9, 0.9)).status == "failed"


def test_any_change_of_an_unknown_metric_counts() -> None:
    for other in (9.0, 11.0):
        found = judged(Int8(), val_x=(10.0, other))
        assert found.status == "failed"
        assert "changed by 0.1 of it; 0.01 is allowed; any change of val_x counts as worse" in str(found.reason)
        assert str(found.reason).endswith("say so with Int8(metric='val_x', metric_mode='min'), or 'max'")
    found = judged(Int8(), val_x=(10.0, 10.01))
    assert found.status == "passed"
    assert "any change of val_x counts as worse" in str(found.reason)


def test_what_the_option_the_callbacks_or_torchmetrics_say_goes_first() -> None:
    assert judged(Int8(metric="val_x", metric_mode="min"), val_x=(10.0, 9.0)).status == "passed"
    assert judged(Int8(metric="val_x", metric_mode="max"), val_x=(10.0, 9.0)).status == "failed"
    assert judged(Int8(), {"val_x": "min"}, val_x=(10.0, 9.0)).reason is None
    assert judged(Int8(), {"val_loss": "max"}, val_loss=(10.0, 9.0)).status == "failed"


def test_drops_of_large_values_are_relative() -> None:
    found = judged(Int8(), val_psnr=(30.0, 29.8), val_acc=(0.92, 0.915), val_mae=(100.0, 100.5))
    assert found.status == "passed"
    assert [row["relative"] for row in found.figures["metrics"].values()] == [True, False, True]


def test_the_mode_needs_a_metric() -> None:
    with pytest.raises(ConfigurationError, match="Give one too"):
        Int8(metric_mode="min")
    with pytest.raises(ConfigurationError, match="Choose one of 'min', 'max'"):
        Int8(metric="a", metric_mode="lower")  # type: ignore[arg-type]


class Hurt(LightningModule):
    """Small weights next to large ones in one channel, and a decision by the small ones, which 8 bits lose."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 2, bias=False)
        with torch.no_grad():
            self.layer.weight[:] = torch.tensor([[100.0] + [0.1] * 7, [100.0] + [-0.1] * 7])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("accuracy", (self(batch[0]).argmax(-1) == batch[1]).float().mean())


class Breaks(Hurt):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        raise ZeroDivisionError("of the user's")


@pytest.fixture
def hurt(staged: Any) -> Any:
    """Every second row votes for the other class, next to a large value without influence."""
    x = torch.full((32, 8), 0.1)
    x[:, 0] = 1.0
    x[1::2, 1:] = -0.1
    loader = DataLoader(TensorDataset(x, torch.arange(32) % 2), batch_size=32)
    return lambda module: staged(module.eval(), x, loader)


@pytest.mark.slow
def test_int8_hurts_and_is_not_kept(hurt: Any) -> None:
    context = hurt(Hurt())
    (found,) = judging.make([Int8(mode="dynamic", max_metric_drop=0.0)], context)
    assert found.record.status == "failed"
    assert [c.status for c in found.record.checks] == ["passed", "failed"]  # close enough, but useless
    row = found.record.checks[1].figures["metrics"]["accuracy"]
    assert (row["module"], row["variant"]) == (1.0, 0.5)
    assert found.record.reason == "metrics: accuracy is 0.5, the module's is 1: worse by 0.5; 0 is allowed"
    assert found.scalars["int8_metric_drop"] == 0.5
    assert not context.model_path.with_name("model.int8.onnx").exists()


@pytest.mark.slow
def test_float16_does_not_and_is_kept(hurt: Any) -> None:
    (found,) = judging.make([Float16(max_metric_drop=0.0)], hurt(Hurt()))
    assert found.record.status == "passed", found.record.reason
    assert found.record.checks[1].status == "passed"


@pytest.mark.slow
def test_a_failing_loop_skips_the_budget(hurt: Any) -> None:
    (found,) = judging.make([Float16()], hurt(Breaks()))
    metrics = found.record.checks[1]
    assert (metrics.name, metrics.status) == ("metrics", "skipped")
    assert (metrics.reason or "").endswith("outside the training: ZeroDivisionError: of the user's")
    assert "metric_drop" not in " ".join(found.scalars)


@pytest.mark.slow
def test_different_batches_skip_the_budget(staged: Any) -> None:
    class Others(torch.utils.data.IterableDataset[Any]):
        times = 0

        def __iter__(self) -> Any:
            Others.times += 1
            return iter([(torch.full((8,), float(Others.times)), torch.tensor(0))])

    context = staged(Hurt().eval(), torch.randn(2, 8), DataLoader(Others(), batch_size=1))
    (found,) = judging.make([Float16()], context)
    assert found.record.checks[1].status == "skipped"
    assert "different batches" in found.record.checks[1].reason
