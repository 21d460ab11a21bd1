"""The progress bar of an export: shown after a delay, drawn like Lightning's, and off if that is off."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import RichProgressBar, TQDMProgressBar
from lightning.pytorch.demos.boring_classes import BoringModel

from lightning_onnx.training import progress
from lightning_onnx.training.progress import stages

pytestmark = pytest.mark.slow


class Slow(Callback):
    """Takes longer than the delay, in the hooks in which ONNXExport exports."""

    def __init__(self, delay: float = 0.2, seconds: float = 1.0, fail: bool = False) -> None:
        self.delay, self.seconds, self.fail = delay, seconds, fail
        self.threads: list[str] = []

    def export(self, trainer: Trainer) -> None:
        with stages(trainer, total=2, delay=self.delay) as shown:
            shown.step("tracing")
            time.sleep(self.seconds)
            self.threads = [t.name for t in threading.enumerate()]
            if self.fail:
                raise RuntimeError("the export failed")
            shown.step("checking")
            time.sleep(self.seconds / 2)

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        self.export(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        self.export(trainer)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Returns what was written to both streams."""
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setattr(progress, "_can_redraw", lambda: True)
    return lambda: "".join(capsys.readouterr())


def run(trainer: Any, bar: Any, slow: Slow, **options: Any) -> None:
    enabled = options.pop("enabled", True)
    made = trainer(slow, *bar, enable_progress_bar=enabled, limit_train_batches=2, limit_val_batches=1, **options)
    made.fit(BoringModel())


def test_tqdm(trainer: Any, screen: Callable[[], str]) -> None:
    run(trainer, [TQDMProgressBar()], Slow())
    text = screen()
    assert "ONNX export: tracing |" in text
    assert "| 0/2 [00:0" in text
    assert "ONNX export: checking |██████████          | 1/2 [00:01]" in text
    assert "Epoch 0:" in text
    assert "ONNX" not in text.splitlines()[-1].replace("\r", "")


def test_a_line_a_stage_where_nothing_can_be_redrawn(trainer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        Slow(seconds=0.8).export(trainer(TQDMProgressBar(), enable_progress_bar=True))
    told = [record.getMessage() for record in caplog.records if "ONNX" in record.getMessage()]
    assert told == ["ONNX export: checking"]


def test_rich_shares_the_display_of_lightning(trainer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_can_redraw", lambda: True)
    file = io.StringIO()
    run(trainer, [RichProgressBar(console_kwargs={"force_terminal": True, "file": file, "width": 160})], Slow())
    text = file.getvalue()
    assert "ONNX export: tracing" in text
    assert "ONNX export: checking" in text
    assert "Epoch 0" in text
    assert "│" not in text  # no traceback


@pytest.mark.parametrize(
    ("bar", "enabled"),
    [([], False), ([TQDMProgressBar(refresh_rate=0)], True), ([RichProgressBar(refresh_rate=0)], True)],
)
def test_silent_if_the_bar_is_off(trainer: Any, screen: Callable[[], str], bar: Any, enabled: bool) -> None:
    slow = Slow(seconds=0.5)
    run(trainer, bar, slow, enabled=enabled)
    assert "ONNX" not in screen()
    assert "onnx-progress" not in slow.threads


def test_silent_on_other_ranks(trainer: Any, screen: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> None:
    made = trainer(TQDMProgressBar(), enable_progress_bar=True)
    monkeypatch.setattr(type(made), "is_global_zero", False)
    Slow(seconds=0.5).export(made)
    assert "ONNX" not in screen()


def test_silent_without_a_trainer(screen: Callable[[], str]) -> None:
    Slow(seconds=0.5).export(None)  # type: ignore[arg-type]
    assert "ONNX" not in screen()


def test_short_work_shows_nothing(trainer: Any, screen: Callable[[], str]) -> None:
    assert progress.DELAY == 2
    run(trainer, [TQDMProgressBar()], Slow(delay=progress.DELAY, seconds=0.1))
    assert "ONNX" not in screen()


def test_errors_pass_through_and_the_bar_is_removed(trainer: Any, screen: Callable[[], str]) -> None:
    with pytest.raises(RuntimeError, match="the export failed"):
        run(trainer, [TQDMProgressBar()], Slow(fail=True))
    assert "ONNX export: tracing" in screen()


def test_a_bar_that_breaks_stops_nothing(
    trainer: Any, screen: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_Tqdm", lambda *_: 1 / 0)
    slow = Slow(seconds=0.5)
    run(trainer, [TQDMProgressBar()], slow)
    assert "ONNX" not in screen()


def test_steps_of_many_threads_are_all_counted() -> None:
    with stages(None) as shown:
        threads = [threading.Thread(target=lambda: [shown.step("x") for _ in range(500)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert shown.state() == ("x", 8 * 500 - 1)
    assert torch.is_grad_enabled()
