"""The validation batches, and how each run of the loop gets the same ones."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_onnx.checks.metric_names import Mode, modes_of_callbacks
from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.random_state import random_states_kept


@dataclasses.dataclass(frozen=True)
class Loaders:
    """The data for validation.

    Attributes:
        dataloaders: As in ``Trainer.validate``: a loader, several, or a ``LightningDataModule``.
        limit_batches: As ``limit_val_batches`` of the Trainer.
        datamodule: The ``LightningDataModule`` of the loaders, whose hooks process the batches.
        missing: Why validation cannot run with them; None if it can.
        modes: Whether a metric is better when lower or when higher, where callbacks of the Trainer say so.
    """

    dataloaders: Any = None
    limit_batches: float | None = None
    datamodule: Any = None
    missing: str | None = "there are no validation batches"
    modes: Mapping[str, Mode] = dataclasses.field(default_factory=dict)


NO_LOADERS = Loaders()


def loaders_of(trainer: Any) -> Loaders:
    """Return the validation batches of a Trainer's fit, with the reason if validation cannot run with them."""
    dataloaders = trainer.val_dataloaders
    found = Loaders(dataloaders, trainer.limit_val_batches, trainer.datamodule, None, modes_of_callbacks(trainer))
    if trainer.world_size > 1:
        missing = f"validation needs a run with one process, but this run has {trainer.world_size}"
        return dataclasses.replace(found, missing=missing)
    if dataloaders is None or not trainer.limit_val_batches:
        return dataclasses.replace(found, missing=NO_LOADERS.missing)
    return found


def digest(tensors: Sequence[Tensor]) -> str:
    """Return a short string that is the same for equal tensors."""
    found = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        found.update(str(tuple(tensor.shape)).encode())
        if tensor.layout is torch.strided:
            found.update(np.ascontiguousarray(to_numpy(tensor)).tobytes())
    return found.hexdigest()


@contextlib.contextmanager
def same_random_numbers(dataloaders: Any) -> Iterator[None]:
    """Seed all random states while a loop runs, because a shuffling loader draws from them; restore them afterwards."""
    states = [(generator, generator.get_state()) for generator in _generators(dataloaders)]
    with random_states_kept():
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        try:
            yield
        finally:
            for generator, state in states:
                generator.set_state(state)


def _generators(value: Any) -> list[torch.Generator]:
    """Return the generators of loaders and samplers; a loader draws from its generator even without shuffling."""
    if isinstance(value, Mapping):
        return [g for item in value.values() for g in _generators(item)]
    if isinstance(value, (list, tuple)):
        return [g for item in value for g in _generators(item)]
    parts = [value, *(getattr(value, name, None) for name in ("sampler", "batch_sampler"))]
    parts.append(getattr(parts[-1], "sampler", None))
    found = [getattr(part, "generator", None) for part in parts]
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())
