"""The Trainer as a private copy sees it: the same as in the run, but what the copy writes does not affect the run."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator
from typing import Any

import torch
from lightning.pytorch.loggers.logger import DummyLogger
from torch import nn


class _View:
    """Properties that override those of the Trainer's class with values of one moment, or of the copy.

    Attributes:
        view_epoch: What ``current_epoch`` returns.
        view_step: What ``global_step`` returns.
        view_loggers: Loggers that write nothing, as many as the Trainer has.
        view_strategy: The strategy, with the CPU as its device.
        view_module: The private copy of the module that the Trainer trains.
    """

    view_epoch: int
    view_step: int
    view_loggers: list[DummyLogger]
    view_strategy: object
    view_module: nn.Module | None

    @property
    def current_epoch(self) -> int:
        return self.view_epoch

    @property
    def global_step(self) -> int:
        return self.view_step

    @property
    def loggers(self) -> list[DummyLogger]:
        return self.view_loggers

    @property
    def logger(self) -> DummyLogger | None:
        return self.view_loggers[0] if self.view_loggers else None

    @property
    def strategy(self) -> object:
        return self.view_strategy

    @property
    def lightning_module(self) -> nn.Module | None:
        return self.view_module

    @property
    def model(self) -> nn.Module | None:
        return self.view_module


class _OnCPU:
    """Overrides the device of a strategy: the copy is on the CPU."""

    @property
    def root_device(self) -> torch.device:
        return torch.device("cpu")


class _Fabric:
    """Overrides the loggers of a Fabric."""

    @property
    def loggers(self) -> list[DummyLogger]:
        return []

    @property
    def logger(self) -> DummyLogger:
        return DummyLogger()

    def log(self, *args: object, **kwargs: object) -> None:
        """Do nothing."""

    log_dict = log


def replacements(module: nn.Module) -> Iterator[tuple[Any, Any]]:
    """Yield pairs: an object of a module's Trainer or Fabric, and its replacement for a copy of the module.

    A Trainer is never copied deeply. Attributes that the copy sets on the Trainer, its data module or its strategy stay
    with the copy; objects further inside, such as callbacks, are those of the run.
    """
    owners: dict[int, tuple[str, Any]] = {}
    for part in module.modules():
        for name in ("_trainer", "_fabric"):
            owner = part.__dict__.get(name)
            if owner is not None:
                owners[id(owner)] = name, owner
    for name, owner in owners.values():
        if not hasattr(owner, "__dict__"):
            yield owner, owner  # a weak reference
        elif name == "_fabric":
            yield owner, _shallow(owner, _Fabric)
        else:
            yield from _of_trainer(owner)


def _of_trainer(trainer: Any) -> Iterator[tuple[Any, Any]]:
    view = _shallow(trainer, _View)
    view.view_epoch, view.view_step = trainer.current_epoch, trainer.global_step
    view.view_loggers = [DummyLogger() for _ in trainer.loggers]
    view.view_module = None
    view.state = _while_validating(trainer.state)
    view.view_strategy = _shallow(trainer.strategy, _OnCPU)
    yield trainer, view
    yield trainer.strategy, view.view_strategy
    yield from zip(trainer.loggers, view.view_loggers, strict=True)
    yield from ((kept, kept) for kept in (*trainer.callbacks, *trainer.optimizers))
    datamodule = getattr(trainer, "datamodule", None)
    if datamodule is not None:
        view.datamodule = _shallow(datamodule)
        if getattr(datamodule, "trainer", None) is trainer:
            view.datamodule.trainer = view
        yield datamodule, view.datamodule


def views_of(copied: nn.Module) -> list[Any]:
    """Return the Trainer views of a private copy, each once."""
    found = {id(view): view for part in copied.modules() if isinstance(view := part.__dict__.get("_trainer"), _View)}
    return list(found.values())


def show_module(copied: nn.Module) -> None:
    """Make ``self.trainer.lightning_module`` of a private copy refer to the copy."""
    for view in views_of(copied):
        view.view_module = next(p for p in copied.modules() if p.__dict__.get("_trainer") is view)


def show_moment(copied: nn.Module, epoch: int | None, global_step: int | None) -> None:
    """Set ``current_epoch`` and ``global_step`` of a private copy to those of its weights; None changes nothing."""
    for view in views_of(copied):
        view.view_epoch = view.view_epoch if epoch is None else epoch
        view.view_step = view.view_step if global_step is None else global_step


def with_moment(trainer_class: type, copied: nn.Module) -> type:
    """Return a Trainer class whose epoch and step are those of a private copy's weights.

    Args:
        trainer_class: A Trainer class.
        copied: A private copy; if it has no Trainer, ``trainer_class`` itself is returned.
    """
    views = views_of(copied)
    if not views:
        return trainer_class
    moment = {"current_epoch": views[0].view_epoch, "global_step": views[0].view_step}
    return type(trainer_class.__name__, (trainer_class,), moment)


def _while_validating(state: Any) -> Any:
    """Return a Trainer's state as in a validation loop, where the module is in eval mode too."""
    seen = copy.copy(state)
    seen.stage = sys.modules[type(state).__module__].RunningStage.VALIDATING
    return seen


def _shallow(original: Any, *before: type) -> Any:
    """Return an object with the same attributes; properties of the classes in ``before`` override its own."""
    kind = type(original)
    if before and not issubclass(kind, before):
        kind = type(kind.__name__, (*before, kind), {"__module__": kind.__module__, "__qualname__": kind.__qualname__})
    made = object.__new__(kind)
    made.__dict__.update(original.__dict__)
    return made
