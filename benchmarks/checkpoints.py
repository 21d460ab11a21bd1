"""Measures the cost of exporting each checkpoint, as ratios of one run: ``python benchmarks/checkpoints.py``.

For a resnet50 and a transformer encoder of 12 layers:

- hooks: time of all our hooks on the training thread for a checkpoint, checks included, in units of
  ``trainer.save_checkpoint(weights_only=True)``; the bar is 1.0.
- steps: training steps while an export is in flight, in units of undisturbed ones, training on one thread; the bar is
  1.3, where a core is free for the export.
- refresh: a refreshed artifact without checks and test data (both run the module), in units of ``torch.save`` of the
  same ``state_dict``; the bar is 4.
- refresh / first: the same in units of the first export; the bar is 0.35.
- onnxruntime: latency of the published file in units of torch's own optimized export; the bar is 1.05.
- memory: resident memory after 200 refreshes in units of that after 20; the bar is 1.05.
"""

from __future__ import annotations

import argparse
import logging
import resource
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch
import torchvision
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_onnx import ONNXExport
from lightning_onnx.module.calls import matching
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.weights import copying, loading
from lightning_onnx.module.weights.source import Source
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.pipeline.produce import LoadedModule, produce

BARS = {"hooks": 1.0, "steps": 1.3, "refresh": 4.0, "refresh / first": 0.35, "onnxruntime": 1.05, "memory": 1.05}


def resnet50() -> tuple[nn.Module, Tensor]:
    """Return the module and a batch."""
    return torchvision.models.resnet50(weights=None), torch.randn(4, 3, 96, 96)


def encoder() -> tuple[nn.Module, Tensor]:
    """Return the module and a batch."""
    layer = nn.TransformerEncoderLayer(512, 8, 2048, batch_first=True)
    return nn.TransformerEncoder(layer, 12, enable_nested_tensor=False), torch.randn(4, 32, 512)


class Trains(LightningModule):
    """Any module, trained to return ones."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        """Run the module."""
        return self.net(x)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """Return the loss."""
        return (self(batch) - 1).square().mean()  # towards 1: outputs near 0 would be only rounding

    def configure_optimizers(self) -> Any:
        """Return plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=1e-6)


class Timed(ONNXExport):
    """Measures the time in its hooks after the trace, and separates steps with a running export from others."""

    hooks = ("on_train_batch_start", "on_train_batch_end", "on_train_epoch_start", "on_train_epoch_end", "on_train_end")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.spent = 0.0
        self.steps: dict[bool, list[float]] = {True: [], False: []}
        for name in self.hooks:
            setattr(self, name, self._timed(getattr(self, name)))
        start, end = self.on_train_batch_start, self.on_train_batch_end
        began = (False, 0.0)

        def on_start(*given: Any) -> None:
            nonlocal began
            start(*given)
            began = (self._in_flight(), time.perf_counter())

        def on_end(*given: Any) -> None:
            took, both = time.perf_counter() - began[1], self._in_flight()
            if began[0] == both and given[-1] > 3:
                self.steps[both].append(took)
            end(*given)

        self.on_train_batch_start, self.on_train_batch_end = on_start, on_end  # type: ignore[method-assign]

    def _in_flight(self) -> bool:
        running = None if self._exporter is None else self._exporter._running
        return running is not None and not running.done()

    def _timed(self, hook: Callable[..., None]) -> Callable[..., None]:
        def timed(*given: Any) -> None:
            traced = self._exporter is not None and self._exporter.plan is not None
            started = time.perf_counter()
            hook(*given)
            if traced:
                self.spent += time.perf_counter() - started

        return timed


class Saves(ModelCheckpoint):
    """Times ``trainer.save_checkpoint``."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.times: list[float] = []

    def _save_checkpoint(self, trainer: Trainer, filepath: str) -> None:
        started = time.perf_counter()
        trainer.save_checkpoint(Path(filepath).with_suffix(".timed"), weights_only=True)
        self.times.append(time.perf_counter() - started)
        super()._save_checkpoint(trainer, filepath)


def training(net: nn.Module, batch: Tensor, root: Path, saves: int = 6, steps: int = 24) -> dict[str, float]:
    """Train on one thread and save a checkpoint now and then."""
    torch.set_num_threads(1)
    callback = Timed(root / "onnx", when="checkpoint")
    checkpoint = Saves(root / "ck", every_n_train_steps=steps, save_weights_only=True)
    trainer = Trainer(
        max_steps=saves * steps,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[callback, checkpoint],
        default_root_dir=root,
    )
    trainer.fit(Trains(net), DataLoader(batch.repeat(1000, *[1] * (batch.dim() - 1)), batch_size=len(batch)))
    assert callback.failures == [], callback.failures
    assert all(a.proven for a in callback.artifacts), [a.manifest["checks"] for a in callback.artifacts]
    return {
        "hooks": callback.spent / saves / statistics.median(checkpoint.times),
        "steps": statistics.mean(callback.steps[True]) / statistics.mean(callback.steps[False]),
    }


def refreshing(net: nn.Module, batch: Tensor, root: Path, number: int = 7) -> dict[str, float]:
    """Refresh an artifact without checks, and save the same weights, in turns."""
    copied = copying.private_copy(net)
    started = time.perf_counter()
    sample = matching.sample_of(net, "forward", ((batch,), {}))
    plan = prepare(copied, [Observation.of(sample, "")], ExportConfig(checks=(), test_data=None))
    made = produce(plan, LoadedModule(copied, Source()), root / "first")
    first = time.perf_counter() - started
    state = net.state_dict()
    refreshed, saved = [], []
    for _ in range(number):
        started = time.perf_counter()
        torch.save(state, root / "state.pt")
        saved.append(time.perf_counter() - started)
        started = time.perf_counter()
        loading.load(copied, state)
        produce(plan, LoadedModule(copied, Source()), root / "again", replace=True)
        refreshed.append(time.perf_counter() - started)
    refresh = statistics.median(refreshed)
    return {
        "refresh": refresh / statistics.median(saved),
        "refresh / first": refresh / first,
        "onnxruntime": latency(made.model_path, own_export(net, batch, root), batch),
    }


def own_export(net: nn.Module, batch: Tensor, root: Path) -> Path:
    """Export with only torch."""
    path = root / "torch.onnx"
    dynamic = ({0: torch.export.Dim.DYNAMIC},)
    torch.onnx.export(net.eval(), (batch,), str(path), dynamo=True, dynamic_shapes=dynamic, verbose=False)
    return path


def latency(ours: Path, theirs: Path, batch: Tensor, number: int = 40) -> float:
    """Return the ratio of the medians, one thread, in turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(path, options) for path in (ours, theirs)]
    times: list[list[float]] = [[], []]
    for turn in range(number):
        for index in (0, 1) if turn % 2 else (1, 0):
            session = sessions[index]
            started = time.perf_counter()
            session.run(None, {session.get_inputs()[0].name: batch.numpy()})
            times[index].append(time.perf_counter() - started)
    return statistics.median(times[0][4:]) / statistics.median(times[1][4:])


def resident() -> int:
    """Return the resident memory of this process, in pages."""
    return int(Path("/proc/self/statm").read_text().split()[1])


def memory(root: Path, number: int = 200) -> float:
    """Refresh a small resnet again and again."""
    net = torchvision.models.resnet18(weights=None)
    copied = copying.private_copy(net)
    sample = matching.sample_of(net, "forward", ((torch.randn(2, 3, 64, 64),), {}))
    plan = prepare(copied, [Observation.of(sample, "")], ExportConfig())
    early = 0
    for turn in range(number):
        produce(plan, LoadedModule(copied, Source()), root / "again", replace=turn > 0, concurrent=True)
        if turn == 19:
            early = resident()
    return resident() / early


def main() -> None:
    """Print the table of ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--check", action="store_true", help="exit with 1 if a limit is exceeded")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    found: dict[str, dict[str, float]] = {}
    for make in (resnet50, encoder):
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as directory:
            root = Path(directory)
            found[make.__name__] = refreshing(*make(), root) | training(*make(), root)
    with tempfile.TemporaryDirectory() as directory:
        found["resnet18"] = {"memory": memory(Path(directory))}
    print(f"{'ratio':16}{'bar':>8}" + "".join(f"{name:>12}" for name in found))
    for name, bar in BARS.items():
        cells = [f"{found[m][name]:12.2f}" if name in found[m] else " " * 12 for m in found]
        print(f"{name:16}{bar:8.2f}" + "".join(cells))
    print(f"peak resident memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")
    missed = [f"{name} of {m}" for m in found for name, value in found[m].items() if value > BARS[name]]
    if missed and arguments.check:
        raise SystemExit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
