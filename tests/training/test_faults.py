"""Whatever happens to the export, the training, its checkpoints and its loggers are the same as without it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from lightning_onnx import ArtifactError, ONNXArtifact, ONNXExport, export
from lightning_onnx.artifacts.file_digests import describe_file
from lightning_onnx.artifacts.staging import sweep
from lightning_onnx.module.calls import matching
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.source import Source
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.pipeline.produce import produce
from lightning_onnx.runtimes import base
from lightning_onnx.runtimes.worker import client, process
from tests import models
from tests.runtimes import faulty

pytestmark = pytest.mark.slow


@pytest.fixture(params=["checkpoint", "fit_end"])
def when(request: pytest.FixtureRequest) -> Any:
    return request.param


class Run:
    """A training of two epochs, with a fault after the first."""

    def __init__(self, fit: Any, path: Path, when: str, happens: Any, module: Any = None, **options: Any) -> None:
        self.callback = ONNXExport(path / "onnx", when=when, **options)
        self.checkpoint = ModelCheckpoint(path / "ck", monitor="val_loss", save_top_k=-1)
        self.logger = CSVLogger(path / "log")
        module = models.Classifier() if module is None else module

        class Happens(type(module)):  # type: ignore[misc]
            def on_train_epoch_start(this) -> None:
                if this.current_epoch == 1:
                    happens(self)

        module.__class__ = Happens
        self.trainer = fit(module, self.callback, self.checkpoint, logger=self.logger, max_epochs=2)

    def assert_training_is_whole(self) -> None:
        assert self.trainer.state.finished
        assert self.trainer.global_step == 4
        assert len(self.checkpoint.best_k_models) == 2
        rows = np.genfromtxt(Path(self.logger.log_dir) / "metrics.csv", delimiter=",", names=True)
        assert np.isfinite(rows["val_loss"]).sum() == 2


def nothing_half(dirpath: Path) -> None:
    for path in dirpath.iterdir() if dirpath.exists() else ():
        if path.is_dir() and not path.name.startswith("."):
            ONNXArtifact.load(path)


def test_disk_full(fit: Any, tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel refuses to let files grow beyond 1000 bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limited(*args: Any, **kwargs: Any) -> Any:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        try:
            return produce(*args, **kwargs)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    try:
        change = lambda run: monkeypatch.setattr("lightning_onnx.training.jobs.produce", limited)  # noqa: E731
        run = Run(fit, tmp_path, when, change, background=False)  # the limit is one of the whole process
    finally:
        signal.signal(signal.SIGXFSZ, ignored)
    run.assert_training_is_whole()
    assert any("File too large" in f for f in run.callback.failures)
    nothing_half(tmp_path / "onnx")
    assert not list((tmp_path / "onnx").glob(".onnx-*"))


def test_directory_is_removed(fit: Any, tmp_path: Path, when: str) -> None:
    # by one rename: an export may be writing into it
    run = Run(fit, tmp_path, when, lambda run: (tmp_path / "onnx").rename(tmp_path / "gone"))
    run.assert_training_is_whole()
    assert [a.manifest["source"]["epoch"] for a in run.callback.artifacts][-1:] in ([1], [0])
    assert run.callback.artifacts == [ONNXArtifact.load(a.directory) for a in run.callback.artifacts]
    nothing_half(tmp_path / "onnx")


def test_directory_becomes_a_file(fit: Any, tmp_path: Path, when: str) -> None:
    def replace(run: Run) -> None:
        if run.callback._exporter._background._running is not None:
            run.callback._exporter._background._running.result()
        shutil.rmtree(tmp_path / "onnx")
        (tmp_path / "onnx").write_text("in the way")

    run = Run(fit, tmp_path, when, replace)
    run.assert_training_is_whole()
    assert any("cannot be written" in f for f in run.callback.failures), run.callback.failures


@pytest.mark.parametrize("content", [b"", b"no checkpoint", "half"])
def test_corrupt_checkpoint(content: Any, fit: Any, tmp_path: Path, when: str) -> None:
    class Spoils(ModelCheckpoint):
        def _save_checkpoint(self, trainer: Any, filepath: str) -> None:
            super()._save_checkpoint(trainer, filepath)
            whole = Path(filepath).read_bytes()
            Path(filepath).write_bytes(whole[: len(whole) // 2] if content == "half" else content)

    callback = ONNXExport(tmp_path / "onnx", when=when)
    trainer = fit(models.Classifier(), callback, Spoils(tmp_path / "ck", monitor="val_loss"), max_epochs=1)
    assert trainer.state.finished
    assert any("cannot be read" in f for f in callback.failures)
    assert callback.artifact is None


def test_checkpoint_is_removed_by_another_program(fit: Any, tmp_path: Path) -> None:
    run = Run(fit, tmp_path, "fit_end", lambda run: None)
    assert run.callback.failures == []

    class Removes(models.Classifier):
        def on_train_end(self) -> None:
            shutil.rmtree(tmp_path / "b" / "ck")

    callback = ONNXExport(tmp_path / "b" / "onnx")
    checkpoint = ModelCheckpoint(tmp_path / "b" / "ck", monitor="val_loss")
    assert fit(Removes(), callback, checkpoint).state.finished
    assert any("cannot be read" in f for f in callback.failures)


@pytest.mark.parametrize(
    ("fault", "when"),
    [
        pytest.param("crash", "fit_end", marks=pytest.mark.nightly),
        ("crash", "checkpoint"),
        ("asleep", "fit_end"),
        pytest.param("asleep", "checkpoint", marks=pytest.mark.nightly),
    ],
    indirect=["when"],
)
def test_runtime_crashes_or_hangs(
    fault: str, fit: Any, tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(faulty.VARIABLE, str(tmp_path / "fault"))
    monkeypatch.setitem(base.RUNTIMES, "onnxruntime", "tests.runtimes.faulty:Faulty")
    monkeypatch.setattr(process, "TIME_LIMIT", 20.0 if fault == "crash" else 3.0)
    client._worker.stop()  # the next one gets the variable
    try:
        run = Run(fit, tmp_path, when, lambda run: (tmp_path / "fault").write_text(fault))
    finally:
        client._worker.stop()
    run.assert_training_is_whole()
    expected = "died by SIGABRT" if fault == "crash" else "no answer within 3 s"
    assert any(expected in f for f in run.callback.failures)
    assert run.callback.artifact is not None
    assert not run.callback.artifacts[-1].passed
    nothing_half(tmp_path / "onnx")


def test_out_of_memory_in_the_reference(fit: Any, tmp_path: Path, when: str) -> None:
    class Greedy(models.Classifier):
        full = False

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if self.full and self._is_copy():
                raise torch.OutOfMemoryError("no memory is left")
            return super().forward(x)

        def _is_copy(self) -> bool:
            return not any(p.requires_grad for p in self.parameters())

    module = Greedy()
    run = Run(fit, tmp_path, when, lambda run: setattr(module, "full", True), module)
    run.assert_training_is_whole()
    assert any("no memory is left" in f for f in run.callback.failures)
    nothing_half(tmp_path / "onnx")


def test_killed_at_any_moment(tmp_path: Path) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 64))
    copied = private_copy(module)
    sample = matching.sample_of(module, "forward", ((torch.randn(4, 64),), {}))
    plan = prepare(copied, [Observation.of(sample, "x")], ExportConfig())
    client._worker.stop()
    chosen = random.Random(0)
    seen = 0
    for number in range(30):
        child = os.fork()
        if child == 0:
            for again in range(1000):
                loaded = LoadedModule(copied, Source())
                produce(plan, loaded, tmp_path / f"{number}-{again % 3}", if_taken="replace")
            os._exit(0)
        time.sleep(chosen.uniform(0, 1.5))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        nothing_half(tmp_path)
        seen += len(list(tmp_path.glob(".onnx-staging-*")))
        sweep(tmp_path)
        assert not list(tmp_path.glob(".onnx-staging-*"))
    assert seen > 3  # some moments were in the middle of an export
    assert len(list(tmp_path.glob("*/manifest.json"))) > 3


def test_checkpoint_that_runs_code_is_inert(fit: Any, tmp_path: Path) -> None:
    mark = tmp_path / "executed"

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {mark}",)

    class Poisons(models.Classifier):
        def on_save_checkpoint(self, checkpoint: Any) -> None:
            checkpoint["evil"] = Evil()

    callback = ONNXExport(tmp_path / "onnx", when="checkpoint")
    fit(Poisons(), callback, ModelCheckpoint(tmp_path / "ck"))
    assert callback.failures == []
    assert callback.artifact is not None
    assert not mark.exists()


@pytest.mark.parametrize("outside", ["../secret", "/etc/hostname"])
def test_artifact_that_points_outside_is_refused(outside: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(bytes(100))
    made = export(torch.nn.Linear(4, 2), torch.zeros(3, 4), directory=tmp_path / "a")
    manifest = json.loads((made.directory / "manifest.json").read_text())

    def altered(change: Any) -> None:
        copied = json.loads(json.dumps(manifest))
        change(copied)
        (made.directory / "manifest.json").write_text(json.dumps(copied))
        with pytest.raises(ArtifactError, match="outside of it"):
            ONNXArtifact.load(made.directory)

    altered(lambda m: m["files"].update({outside: {"sha256": "", "bytes": 1}}))
    altered(lambda m: m["model"].update(file=outside))

    model = onnx.load(made.model_path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=outside)
    made.model_path.write_bytes(model.SerializeToString())
    altered(lambda m: m["files"].update({"model.onnx": dataclasses.asdict(describe_file(made.model_path))}))


def test_exports_after_interrupts_are_right(tmp_path: Path) -> None:
    """In a process of its own, because an interrupt can leave torch itself in any state."""
    process = multiprocessing.get_context("spawn").Process(target=export_with_interrupts, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 0


def export_with_interrupts(tmp_path: Path) -> None:
    """Ctrl-C at any moment of an export loses that export only."""
    chosen = random.Random(0)
    module, x = torch.nn.Linear(4, 2), torch.zeros(3, 4)
    export(module, x, directory=tmp_path / "first")
    started = time.perf_counter()
    export(module, x, directory=tmp_path / "second")
    seconds = time.perf_counter() - started
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    interrupted = 0
    try:
        for number in range(20):
            with contextlib.suppress(KeyboardInterrupt):
                try:
                    signal.setitimer(signal.ITIMER_REAL, chosen.uniform(0, seconds))
                    export(module, x, directory=tmp_path / f"interrupted-{number}")
                except KeyboardInterrupt:
                    interrupted += 1
                    raise
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
            artifact = export(module, x, directory=tmp_path / f"next-{number}")
            assert artifact.proven
            assert [(check["name"], check["status"]) for check in artifact.manifest["checks"]] == [("parity", "passed")]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert interrupted > 5
