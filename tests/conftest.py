"""Shared fixtures: one thread, seeds, quiet Trainers, and a guard that no test leaves threads or hooks behind.

torch and Lightning are imported when the tests are: the process that only starts others does not need them.
"""

from __future__ import annotations

import gc
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule

    from lightning_onnx import ONNXArtifact

pytest_plugins = ["tests.seeding"]
logging.getLogger().setLevel(logging.INFO)  # once: pytest's log_level clears the caches of all loggers around each test
gc.set_threshold(100_000, 20, 20)  # by default a tenth of the time goes into looking through all of torch

THREADS_OF_OTHERS = ("tqdm_monitor", "Otel", "sentry-sdk")
"""tqdm, wandb and comet start them when they are first used, and keep them."""

ALL_SLOW = "\npytestmark = pytest.mark.slow\n"
"""The line of a file of which all tests are slow."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("nightly") is not None:
            item.add_marker("slow")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import a file whose tests are all slow where these are left out: the trackers alone take seconds."""
    is_left_out = config.option.markexpr == "not slow" and collection_path.suffix == ".py"
    return True if is_left_out and ALL_SLOW in collection_path.read_text(encoding="utf-8") else None


def pytest_collection_finish() -> None:
    """Exclude imported objects from garbage collection, which would search all of torch each time."""
    import torch

    torch.set_num_threads(1)
    gc.freeze()


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    import torch

    before = set(threading.enumerate())
    yield
    left = [t.name for t in threading.enumerate() if t not in before and not t.name.startswith(THREADS_OF_OTHERS)]
    assert not left
    assert torch.is_grad_enabled()
    assert not torch.compiler.is_exporting()


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    """One export; tests that change it take a copy."""
    import torch

    import lightning_onnx

    directory = tmp_path_factory.mktemp("exported") / "linear"
    return lightning_onnx.export(torch.nn.Linear(4, 2), torch.randn(3, 4), directory=directory)


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    """Makes a quiet Trainer of one epoch on the CPU, below the test's directory."""

    from lightning.pytorch import Trainer

    def make(*callbacks: Any, package: Any = Trainer, **options: Any) -> Any:
        settings: dict[str, Any] = {
            "max_epochs": 1,
            "accelerator": "cpu",
            "logger": False,
            "enable_checkpointing": any(hasattr(c, "best_model_path") for c in callbacks),
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "default_root_dir": tmp_path,
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return package(callbacks=list(callbacks), **(settings | options))

    return make


@pytest.fixture
def fit(trainer: Any) -> Any:
    """Trains a module for one epoch with the given callbacks and returns the Trainer."""

    def run(module: LightningModule, *callbacks: Any, train: Any = None, val: Any = None, **options: Any) -> Any:
        ckpt_path = options.pop("ckpt_path", None)
        made = trainer(*callbacks, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made.fit(
                module,
                train if train is not None else module.batches(),
                val if val is not None else module.batches() if hasattr(type(module), "validation_loss") else None,
                ckpt_path=ckpt_path,
            )
        return made

    return run
