"""Ctrl-C and SIGTERM end a run while a runtime hangs, long before the time limit of its answers, but not a slow one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lightning_onnx import ONNXExport
from lightning_onnx.runtimes import base
from lightning_onnx.runtimes.worker import client
from lightning_onnx.runtimes.worker.waiting import Wait, ask_whether_to_go_on
from lightning_onnx.training.interruption import GRACE, UNKNOWN, Interruption
from tests import models
from tests.processes import assert_ends
from tests.runtimes import faulty


class FixedWait(Wait):
    """A wait that has lasted for a given time."""

    def __init__(self, seconds: float, idle: float = 0.0, longest_answer: float | None = None) -> None:
        super().__init__(0, longest_answer)
        self._length, self._idle = seconds, idle

    @property
    def seconds(self) -> float:
        return self._length

    def idle_seconds(self) -> float:
        return self._idle


def ends(wait: Wait, *, is_export_wanted: bool, is_preflight: bool = False, sigterm: bool = False) -> bool:
    """Tell whether a wait is ended after an interrupt."""
    interruption, trainer = Interruption(is_export_wanted=is_export_wanted), SimpleNamespace(received_sigterm=sigterm)
    if not sigterm:
        interruption.arrive()
    try:
        with interruption.ends(trainer, is_preflight=is_preflight):  # type: ignore[arg-type]
            ask_whether_to_go_on(wait)
    except SIGTERMException:
        assert interruption.has_ended_exports
        return True
    return False


@pytest.mark.parametrize("sigterm", [True, False])
def test_without_on_exception_an_answer_may_take_three_seconds(sigterm: bool) -> None:
    assert GRACE == 3
    assert not ends(FixedWait(2.9), is_export_wanted=False, sigterm=sigterm)
    assert ends(FixedWait(3.1, longest_answer=100.0), is_export_wanted=False, sigterm=sigterm)


@pytest.mark.parametrize("sigterm", [True, False])
def test_with_on_exception_a_process_that_computes_is_waited_for(sigterm: bool) -> None:
    assert not ends(FixedWait(39.0, idle=2.9, longest_answer=10.0), is_export_wanted=True, sigterm=sigterm)
    assert ends(FixedWait(4.0, idle=3.1, longest_answer=10.0), is_export_wanted=True, sigterm=sigterm)
    assert ends(FixedWait(41.0, longest_answer=10.0), is_export_wanted=True, sigterm=sigterm)  # a dead loop
    assert ends(FixedWait(3.1, longest_answer=0.1), is_export_wanted=True, sigterm=sigterm)
    assert not ends(FixedWait(UNKNOWN - 1), is_export_wanted=True, sigterm=sigterm)
    assert ends(FixedWait(UNKNOWN + 1), is_export_wanted=True, sigterm=sigterm)


def test_with_on_exception_a_preflight_is_not_waited_for() -> None:
    assert ends(FixedWait(3.1, longest_answer=10.0), is_export_wanted=True, is_preflight=True)


def test_without_an_interrupt_nothing_ends() -> None:
    trainer: Any = SimpleNamespace(received_sigterm=False)
    with Interruption().ends(trainer):
        ask_whether_to_go_on(FixedWait(500.0, idle=500.0))


@pytest.mark.slow
def test_after_an_interrupt_a_slow_worker_is_waited_for(tmp_path, monkeypatch, fit) -> None:
    """Its only answer takes twice the time after which it would count as hanging if it did not compute."""
    (tmp_path / "fault").write_text("slow")
    monkeypatch.setenv(faulty.VARIABLE, str(tmp_path / "fault"))
    monkeypatch.setitem(base.RUNTIMES, "onnxruntime", "tests.runtimes.faulty:Faulty")
    client.hosted("onnxruntime").worker.stop()  # the next one gets this environment

    class Interrupted(models.Classifier):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if batch_idx == 1:
                raise KeyboardInterrupt

    callback, before = (
        ONNXExport(tmp_path / "onnx", preflight=False, on_exception=True),
        signal.getsignal(signal.SIGINT),
    )
    try:
        with pytest.raises(SystemExit):
            fit(Interrupted(), callback)
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores Ctrl-C from here on
        client.hosted("onnxruntime").worker.stop()
    assert callback.failures == []
    assert callback.artifact is not None
    assert callback.artifact.passed


SCRIPT = """
import sys, time
from pathlib import Path
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning_onnx import ONNXExport
from lightning_onnx.runtimes import base
from lightning_onnx.runtimes.worker import process
from tests import models

base.RUNTIMES["onnxruntime"] = "tests.runtimes.faulty:Faulty"
root, moment, fault = Path(sys.argv[1]), *sys.argv[2:]
slices = []


def count(wait, ask=process.ask_whether_to_go_on):
    if (root / "signalled").exists():
        slices.append(wait)
    ask(wait)


process.ask_whether_to_go_on = count


class Module(models.Classifier):
    def on_train_batch_start(self, batch, batch_idx):
        if self.current_epoch == 1:
            (root / "fault").write_text(fault)
        if self.current_epoch == 2 and moment == "in the background":
            print("training goes on", flush=True)
            time.sleep(0.5)


when = "checkpoint" if moment == "in the background" else "fit_end"
callback = ONNXExport(root / "onnx", when=when, on_exception=True)
checkpoint = ModelCheckpoint(root / "ck", monitor="val_loss", save_top_k=-1)
trainer = Trainer(max_epochs=2 if moment == "at the end" else 1000, accelerator="cpu", logger=False,
                  enable_progress_bar=False, enable_model_summary=False, callbacks=[callback, checkpoint])
module = Module()
try:
    trainer.fit(module, module.batches(), module.batches())
finally:
    (root / "failures").write_text("\\n".join(callback.failures))
    (root / "slices").write_text(str(len(slices)))
"""

SLICE = 0.2
"""Seconds of a wait after which it is asked again whether to go on; only longer on a busy machine."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("moment", "fault", "number"),
    [
        ("before training", "in a dead loop", signal.SIGINT),
        ("in the background", "stopped", signal.SIGTERM),
        ("at the end", "asleep", signal.SIGINT),
        *(
            pytest.param(*values, marks=pytest.mark.nightly)
            for values in [
                ("before training", "in a dead loop", signal.SIGTERM),
                ("in the background", "stopped", signal.SIGINT),
                ("at the end", "asleep", signal.SIGTERM),
            ]
        ),
    ],
)
def test_an_interrupt_ends_the_run_while_a_runtime_hangs(
    moment: str, fault: str, number: signal.Signals, tmp_path: Path
) -> None:
    """After the signal, the run waits less than five seconds in all; waits are counted, not timed."""
    script, started = tmp_path / "train.py", tmp_path / "started"
    script.write_text(SCRIPT)
    if moment == "before training":
        (tmp_path / "fault").write_text(fault)
    root = Path(__file__).parents[2]
    environment = {
        **os.environ,
        "PYTHONPATH": str(root),
        faulty.VARIABLE: str(tmp_path / "fault"),
        faulty.STARTED: str(started),
    }
    command = [sys.executable, str(script), str(tmp_path), moment, fault]
    run = subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        for _ in range(1200):
            if started.exists() or run.poll() is not None:
                break
            time.sleep(0.1)
        assert started.exists(), run.communicate()[0].decode()
        (tmp_path / "signalled").touch()
        os.kill(run.pid, number)
        output = run.communicate(timeout=60)[0].decode()  # the limit of an answer is 600 s
    finally:
        run.kill()
    if moment == "at the end" and number == signal.SIGTERM:
        assert run.returncode == -signal.SIGTERM  # Lightning no longer handles it then
    else:
        assert "interrupted during the export" in (tmp_path / "failures").read_text(), output
        assert int((tmp_path / "slices").read_text()) * SLICE < 5, output
    assert_ends(int(started.read_text()))
