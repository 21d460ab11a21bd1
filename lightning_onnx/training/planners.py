"""The plans of all methods of one artifact: there is one of each, or none."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from lightning.pytorch import LightningModule
from torch import nn

from lightning_onnx.module.calls.observer import ForwardObserver
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.plan import Plan
from lightning_onnx.pipeline.stages import OnStage
from lightning_onnx.training.planning import Planner

Plans = tuple[Plan, ...]


class Planners:
    """Keeps the plans of one fit up to date.

    Args:
        configs: What to export and how, by method.
        observers: Records the calls of each method.

    Attributes:
        methods: Names of the methods.
    """

    def __init__(self, configs: Sequence[ExportConfig], observers: Sequence[ForwardObserver]) -> None:
        self.methods = tuple(config.method for config in configs)
        self._planners = tuple(Planner(config, own) for config, own in zip(configs, observers, strict=True))

    def __str__(self) -> str:
        """Return the names of the methods, for messages."""
        return " and ".join(self.methods)

    @property
    def plans(self) -> Plans | None:
        """The current plans; None before each method was traced."""
        found = [planner.plan for planner in self._planners]
        plans = tuple(plan for plan in found if plan is not None)
        return self._told(plans) if len(plans) == len(found) else None

    @property
    def has_calls(self) -> bool:
        """Whether there is a call of each method to trace with, other than the batch itself."""
        return all(planner.observer.calls or planner.config.sample is not None for planner in self._planners)

    @property
    def were_called(self) -> bool:
        """Whether calls of each method were observed."""
        return all(planner.observer.calls for planner in self._planners)

    def attach(self, copied: nn.Module) -> None:
        """Give a private copy the methods to trace, where they are not its own.

        Args:
            copied: The copy, with its weights.
        """
        for planner in self._planners:
            planner.config.around.attach(copied)

    def trace(
        self,
        module: LightningModule,
        copied: nn.Module,
        on_stage: OnStage,
        *,
        is_preflight: bool = False,
        because: str | None = None,
    ) -> Plans:
        """Trace each method. Arguments and errors are the same as for ``Planner.trace``."""
        return self._told(
            planner.trace(module, copied, on_stage, is_preflight=is_preflight, because=because)
            for planner in self._planners
        )

    def current(self, module: LightningModule, copied: nn.Module, on_stage: OnStage) -> Plans:
        """Return the current plans; methods whose plan no longer fits are traced again.

        Arguments and errors are the same as for ``Planner.trace``.
        """
        return self._told(planner.current(module, copied, on_stage) for planner in self._planners)

    def counted(self, module: LightningModule) -> Plans | None:
        """Return the current plans with the sizes of all calls so far; the module is not run."""
        for planner in self._planners:
            planner.counted(module)
        return self.plans

    def is_current(self, module: LightningModule, copied: nn.Module) -> bool:
        """Return whether the current plans fit the module and its calls so far; the module is not run."""
        return all(planner.is_current(module, copied) for planner in self._planners)

    def run_concurrently(self, module: LightningModule, copied: nn.Module) -> bool:
        """Tell whether another thread may write and check the weights of a copy.

        Traces, random numbers, globals and the validation loop would interfere with the training.

        Args:
            module: The module in training.
            copied: A private copy.
        """
        return (
            self.plans is not None
            and not any(planner.config.needs_validation for planner in self._planners)
            and all(plan.refreshes and not plan.is_stochastic and not plan.written_outside for plan in self.plans)
            and self.is_current(module, copied)
        )

    def _told(self, plans: Iterable[Plan]) -> Plans:
        """Return the plans, which know whether their method gets parts of batches where only some of the methods do.

        Args:
            plans: The plan of each method.
        """
        seen = [planner.observer.membership.is_seen for planner in self._planners]
        return tuple(
            dataclasses.replace(plan, takes_batches=own or not any(seen)) for plan, own in zip(plans, seen, strict=True)
        )
