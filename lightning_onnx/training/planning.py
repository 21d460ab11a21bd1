"""Finds the plan for the current module: the last one, or a new trace if the module or its calls changed."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator

from lightning.pytorch import LightningModule
from torch import nn

from lightning_onnx.errors import ConfigurationError, SampleError
from lightning_onnx.module.calls.matching import as_call, match, sample_of
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.observer import ForwardObserver
from lightning_onnx.module.weights.scripted import has_scripts
from lightning_onnx.notices import info, warn
from lightning_onnx.onnxfile.privacy import without_paths
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.plan import Plan
from lightning_onnx.pipeline.prepare import derive_request, prepare, with_calls
from lightning_onnx.pipeline.search_limit import SearchLimit
from lightning_onnx.pipeline.stages import OnStage
from lightning_onnx.printable import printable
from lightning_onnx.profile import Clock, profiled
from lightning_onnx.runtimes.packages import clash
from lightning_onnx.tracing.refusals import Refusals


class Planner:
    """Keeps the plan of one fit up to date.

    Args:
        config: What to export and how.
        observer: Records the module's calls.

    Attributes:
        plan: The current plan; None before the first trace.
        clock: Tells the seconds that preflight takes.
    """

    def __init__(self, config: ExportConfig, observer: ForwardObserver) -> None:
        self.config = config
        self.observer = observer
        self.plan: Plan | None = None
        self.clock: Clock = time.monotonic
        self._refusals = Refusals()
        self._calls_covered = observer.count()

    def trace(
        self,
        module: LightningModule,
        copied: nn.Module,
        on_stage: OnStage,
        *,
        is_preflight: bool = False,
        because: str | None = None,
    ) -> Plan:
        """Trace a copy of the module, and keep the plan.

        Args:
            module: The module in training; only its ``example_input_array`` is read.
            copied: A private copy.
            on_stage: Called with the name of each stage.
            is_preflight: Whether to raise if a graph keeps a wrong decision. Otherwise, such a graph becomes an
                artifact with a failed check.
            because: Why a module is traced again that has a plan; default: what changed since then.

        Raises:
            ONNXExportError: As for ``prepare``.
        """
        started = time.perf_counter()
        again = "" if self.plan is None else f" again: {because or _why_again(self.plan, copied)}"
        info(f"ONNX export: tracing {type(module).__name__}.{self.config.method}{printable(again)}")
        on_stage("tracing")
        with profiled() as profile, self._recording_problems_told():
            plan = self.plan = prepare(
                copied,
                self._observations(module),
                self.config,
                refuse_decisions=is_preflight,
                refusals=self._refusals,
                limit=SearchLimit(self.clock if is_preflight else None),
            )
        self._calls_covered = self.observer.count()
        clashing = clash() if is_preflight else None
        for note in (*plan.notes, *([clashing] if clashing else [])):
            warn(f"ONNX export: {note}")
        info(
            f"ONNX export: {printable(str(plan.graph.signature))} at opset {plan.config.opset} by engine "
            f"'{plan.graph.traced.engine}' in {time.perf_counter() - started:.1f} s ({profile})"
        )
        return plan

    def current(self, module: LightningModule, copied: nn.Module, on_stage: OnStage) -> Plan:
        """Return the current plan, extended by newly observed calls, or a new trace if it no longer fits.

        Arguments and errors are the same as for ``trace``.
        """
        plan = self.plan
        if plan is not None:
            plan.reset(copied)
        if plan is None or not plan.serves(copied) or has_scripts(copied):
            return self.trace(module, copied, on_stage)
        if self.observer.count() != self._calls_covered:
            request = derive_request(copied, self._observations(module), self.config, plan.left_out)
            if request is None or not plan.covers(request):
                return self.trace(module, copied, on_stage)
            self.plan = with_calls(plan, copied, request)
        return self.counted(module) or plan

    def counted(self, module: LightningModule) -> Plan | None:
        """Return the current plan with the sizes of all calls so far; the module is not run."""
        if self.plan is not None:
            before = self.plan.notes
            self.plan = self.plan.with_sizes(self._observations(module))
            for note in self.plan.notes:
                if note not in before:
                    warn(f"ONNX export: {note}")
        return self.plan

    def is_current(self, module: LightningModule, copied: nn.Module) -> bool:
        """Return whether the current plan fits the module and its calls so far; the module is not run."""
        if self.plan is not None:
            self.plan.reset(copied)
        return (
            self.plan is not None
            and self.plan.serves(copied)
            and not has_scripts(copied)
            and (self.observer.count() == self._calls_covered or self.plan.fits(self._observations(module)))
        )

    def _observations(self, module: LightningModule) -> list[Observation]:
        """Return the calls to trace with: the given sample, or else observed calls, the example input, the batch."""
        observed = self.observer.observations()
        if self.config.sample is not None:
            return [self.config.around.given(module, self.config.sample, observed)]
        notes = tuple(map(without_paths, self.observer.problems))
        found = observed or self._example(module) or self._matched()
        return [dataclasses.replace(o, notes=(*o.notes, *notes)) for o in found]

    @contextlib.contextmanager
    def _recording_problems_told(self) -> Iterator[None]:
        """Add to an error about missing calls what went wrong while they were recorded."""
        try:
            yield
        except SampleError as error:
            problems = self.observer.problems
            if not problems or self.config.sample is not None:
                raise
            raise type(error)(f"{error} While calls were recorded: {'; '.join(problems)}.") from next(
                iter(problems.values())
            )

    def _example(self, module: LightningModule) -> list[Observation]:
        example = getattr(module, "example_input_array", None)
        if example is None or self.config.around.observed_method != "forward":
            return []
        with contextlib.suppress(ConfigurationError):
            return [Observation.of(sample_of(module, "forward", as_call(example)), "example_input_array")]
        return []

    def _matched(self) -> list[Observation]:
        source = "the batch matched to the method's signature"
        return match(self.observer.signature, self.observer.batches, source, self.config.around.observed_method)


def _why_again(plan: Plan, copied: nn.Module) -> str:
    """Return why a module is traced that has a plan."""
    scripts = "it has TorchScript modules, whose attributes cannot be compared" if has_scripts(copied) else None
    return plan.changed(copied) or scripts or "its calls have other inputs, or other sizes, than when it was traced"
