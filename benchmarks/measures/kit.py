"""What the measures share. They use only the public names of the package where they can, to run with earlier ones."""

from __future__ import annotations

import json
import logging
import subprocess
import time
import warnings
from collections.abc import Callable
from typing import Any


def quiet() -> None:
    """Silence warnings and logs."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def tell(numbers: dict[str, float]) -> None:
    """Print the numbers for the process that started this one."""
    print("NUMBERS", json.dumps(numbers))


def fastest(command: list[str], repeats: int = 5) -> float:
    """Return the seconds of the fastest of several runs of a command."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return min(times)


def counted_captures() -> tuple[list[bool], Callable[[], None]]:
    """Count the calls of ``torch.export.export``.

    Returns:
        Whether each call so far was refused, and a function that ends counting.
    """
    import torch

    refused: list[bool] = []
    original = torch.export.export

    def export(*args: Any, **options: Any) -> Any:
        refused.append(True)
        program = original(*args, **options)
        refused[-1] = False
        return program

    def end() -> None:
        torch.export.export = original

    torch.export.export = export
    return refused, end


def trainer(root: Any, callbacks: list[Any], **options: Any) -> Any:
    """Return a silent Trainer on the CPU."""
    from lightning.pytorch import Trainer

    return Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(type(c).__name__ == "ModelCheckpoint" for c in callbacks),
        default_root_dir=root,
        callbacks=callbacks,
        **options,
    )


def loader(batches: list[Any]) -> Any:
    """Return a loader of batches that are made already."""
    from torch.utils.data import DataLoader

    return DataLoader(batches, batch_size=None)  # type: ignore[arg-type]


def layers(number: int, width: int) -> Any:
    """Return a module of linear layers, in eval mode."""
    from torch import nn

    return nn.Sequential(*(nn.Linear(width, width) for _ in range(number))).eval()
