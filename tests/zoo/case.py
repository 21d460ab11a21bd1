"""The cases of the zoo, and the LightningModules that most of them share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Case:
    """A module with batches for it.

    Attributes:
        name: Unique name, ``group/what``.
        make: Makes the module; None if ``fit`` does.
        batch: ``(batch size, variant 0 | 1 | 2)`` to a collated batch; training sees variants 0 and 1 alone.
        call: A batch to ``(args, kwargs)`` of the exported method.
        varies: Whether variants differ in dims other than the batch.
        batched: Whether there is a batch dim.
        same_size: Whether all training batches have the same size, as with ``drop_last=True``.
        smallest: Smallest batch that the module takes with the same meaning.
        needs: Packages beside those of the ``dev`` extra's core.
        fast: Whether it belongs to the fast tests.
        options: Options of ``ONNXExport``; empty but for modules of which another method is meant.
        trainer: Options of ``Trainer``.
        fit: Trains as a library does, with its own data or engine; takes the callback and a directory, and returns the
            trained module. None fits three batches of ``batch``.
        limit: Why torch cannot export it rightly at all sizes; the test then wants a message that says so.
    """

    name: str
    make: Callable[[], pl.LightningModule] | None
    batch: Callable[[int, int], Any]
    call: Callable[[Any], Arguments]
    varies: bool = False
    batched: bool = True
    same_size: bool = False
    smallest: int = 1
    needs: tuple[str, ...] = ()
    fast: bool = False
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    trainer: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fit: Callable[[pl.Callback, Path], pl.LightningModule] | None = None
    limit: str | None = None


def first(batch: Any) -> Arguments:
    """``forward(x)`` of a batch ``(x, y)``."""
    return (batch[0],), {}


def whole(batch: Any) -> Arguments:
    """``forward(batch)``."""
    return (batch,), {}


def spread(batch: Any) -> Arguments:
    """``forward(*batch)``."""
    return tuple(batch), {}


def keywords(*left_out: str) -> Callable[[Any], Arguments]:
    """``forward(**batch)`` without the labels."""
    return lambda batch: ((), {k: v for k, v in batch.items() if k not in left_out})


def leaves(value: Any) -> list[Tensor]:
    """Return the tensors of a nested value in order."""
    if isinstance(value, Tensor):
        return [value]
    if hasattr(value, "to_legacy_cache"):
        value = value.to_legacy_cache()
    if isinstance(value, Mapping):
        value = list(value.values())
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = [getattr(value, f.name) for f in dataclasses.fields(value)]
    return [t for item in value for t in leaves(item)] if isinstance(value, (list, tuple)) else []


def any_loss(value: Any) -> Tensor:
    """Return a loss of all floating point outputs."""
    floats = [t for t in leaves(value) if t.is_floating_point() and t.requires_grad] or [
        torch.zeros((), requires_grad=True)
    ]
    return torch.stack([t.float().square().mean() for t in floats]).sum()


class Lit(pl.LightningModule):
    """Typical training steps; a subclass defines how a batch is passed to ``forward``."""

    def step(self, batch: Any) -> Tensor:
        raise NotImplementedError

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        loss = self.step(batch)
        self.log("train_loss", loss, batch_size=1)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.step(batch), batch_size=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-4)


class LitXY(Lit):
    """Batch ``(x, y)``, ``forward(x)``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)

    def step(self, batch: Any) -> Tensor:
        return any_loss(self(batch[0]))


class LitKwargs(Lit):
    """Batch is a dict, ``forward(**batch)``, as in Hugging Face, including labels."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, **inputs):
        return self.net(**inputs)

    def step(self, batch: Any) -> Tensor:
        out = self(**batch)
        loss = getattr(out, "loss", None)
        return any_loss(out) if loss is None else loss


class LitArgs(Lit):
    """Batch a tuple without a target, ``forward(*batch)``; subclasses give ``forward`` its names."""

    def step(self, batch: Any) -> Tensor:
        return any_loss(self(*batch))


class LitWhole(Lit):
    """``forward(batch)``."""

    def step(self, batch: Any) -> Tensor:
        return any_loss(self(batch))


def images(*sizes: tuple[int, ...]) -> Callable[[int, int], Any]:
    """Batches ``(x, y)`` with x of the given sizes; one size for all variants, or three."""

    def batch(b: int, v: int) -> Any:
        return torch.randn(b, *sizes[v % len(sizes)]), torch.zeros(b)

    return batch
