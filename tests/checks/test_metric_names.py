"""What the names of metrics tell."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lightning_onnx.checks.loaders import loaders_of
from lightning_onnx.checks.metric_names import is_share, is_training_loss, mode_of, modes_of_callbacks

LOWER = [
    "val_loss",
    "val/loss_epoch",
    "test_mse",
    "MeanSquaredError",
    "valLoss",
    "WER",
    "ppl",
    "val_l1",
    "L2",
    "val_medae",
    "val_pinball",
    "quantile_loss",
    "val_deviance",
    "val_logcosh",
    "poisson_nll",
    "val_error",
    "val_dist",
    "fid",
    "brier",
    "hamming",
    "eer",
    "dice_loss",
    "val_log_loss",
    "neg_log_likelihood",
    "top1_error",
    "hausdorff_distance",
    "val_loss/dataloader_idx_1",
]
HIGHER = [
    "val_acc",
    "Accuracy",
    "val/f1",
    "glossary_recall",
    "meritScore",
    "auroc",
    "bleu",
    "F1Score",
    "top5_acc",
    "acc@1",
    "hits@10",
    "mAP",
    "map50",
    "mIoU",
    "r2",
    "R2Score",
    "r_squared",
    "pearson",
    "spearman",
    "psnr",
    "ssim",
    "kappa",
    "mcc",
    "recall_at_low_fpr",
    "cosine_similarity",
    "explained_variance",
    "val_acc/dataloader_idx_0",
    "ndcg10",
]
UNKNOWN = ["val_x", "bias", "val_residual", "neg_mean_squared_error", "lr", ""]


@pytest.mark.parametrize(("names", "mode"), [(LOWER, "min"), (HIGHER, "max"), (UNKNOWN, None)])
def test_modes(names: list[str], mode: str | None) -> None:
    assert {name: mode_of(name) for name in names} == dict.fromkeys(names, mode)


def test_shares_and_losses() -> None:
    assert all(map(is_share, ("val_acc", "f1", "Precision", "hits@10", "mAP", "auroc")))
    assert not any(map(is_share, (*LOWER, *UNKNOWN, "r2", "psnr", "pearson", "spearman", "score", "medae")))
    assert all(map(is_training_loss, ("val_loss", "nll", "ce", "val_error", "brier")))
    assert not any(map(is_training_loss, ("mse", "mse_loss", "l1_loss", "MeanAbsoluteError", "wer", "val_acc")))


def test_what_is_known_goes_first() -> None:
    known = {"val_loss": "max", "x": "min"}
    assert mode_of("val_loss", known) == "max"  # type: ignore[arg-type]
    assert mode_of("x_epoch/dataloader_idx_2", known) == "min"  # type: ignore[arg-type]
    assert mode_of("y", known) is None  # type: ignore[arg-type]


def test_callbacks_say_what_they_monitor() -> None:
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

    callbacks = [
        ModelCheckpoint(monitor="a", mode="max"),
        EarlyStopping("b", mode="min"),
        ModelCheckpoint(monitor="c", mode="max"),
        EarlyStopping("c", mode="min"),
        ModelCheckpoint(),
    ]
    trainer = SimpleNamespace(callbacks=callbacks)
    assert modes_of_callbacks(trainer) == {"a": "max", "b": "min"}
    own = {"val_dataloaders": None, "limit_val_batches": 1, "datamodule": None, "world_size": 1}
    assert loaders_of(SimpleNamespace(callbacks=callbacks, **own)).modes == {"a": "max", "b": "min"}
