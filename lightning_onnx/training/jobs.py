"""Jobs: each one makes an artifact on disk, or ends with the error that prevented it."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.artifacts.naming import artifact_name
from lightning_onnx.artifacts.store import Store
from lightning_onnx.checks.loaders import Loaders, loaders_of
from lightning_onnx.errors import ONNXExportError
from lightning_onnx.module.saved import Place
from lightning_onnx.module.weights import attributes, loading, trainer_view
from lightning_onnx.module.weights.checkpoint_file import open_checkpoint
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.source import Source
from lightning_onnx.module.weights.state import weight_bytes
from lightning_onnx.notices import warn
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.produce import produce
from lightning_onnx.pipeline.stages import OnStage, no_progress, stages_named
from lightning_onnx.profile import profiled
from lightning_onnx.training.checkpoint_follower import CheckpointFollower, Saved
from lightning_onnx.training.moments import Moments
from lightning_onnx.training.planners import Planners, Plans

LIVE = ""
"""Key of the artifact of the live weights; other artifacts have the path of their checkpoint."""

WORTH_COLLECTING = 2**26
"""Bytes of weights from which on freeing a copy of them is worth a garbage collection, which takes about 0.1 s."""


@dataclasses.dataclass(frozen=True)
class Fit:
    """The current fit, as seen in a hook.

    Attributes:
        trainer: The trainer.
        module: The module in training; it is never run here.
        on_stage: Called with the name of each stage of the export.
    """

    trainer: Trainer
    module: LightningModule
    on_stage: OnStage = no_progress


@dataclasses.dataclass(frozen=True)
class Job:
    """One artifact to make.

    Attributes:
        key: Path of the checkpoint to export; ``LIVE`` for the live weights.
        copied: A private copy of the module. It has the weights to export only after ``load``.
        load_weights: Loads the weights to export into the copy, and returns where they come from.
        metrics: Metrics for the artifact's name.
        loaders: Validation batches.
        started: ``time.perf_counter()`` at the start of the job, in seconds.
        moment: Digests of what the method read at the time of these weights, if they may differ; None if unknown.
        changed: What had other values then, as far as that is known if ``moment`` is not.
    """

    key: str
    copied: nn.Module
    load_weights: Callable[[nn.Module], Source]
    metrics: Mapping[str, Tensor]
    loaders: Loaders
    started: float
    moment: Mapping[Place, str] | None = dataclasses.field(default_factory=dict)
    changed: Sequence[Place] = ()

    def load(self) -> LoadedModule:
        """Load the weights, and merge adapters into them.

        Raises:
            WeightsError: If the weights cannot be read, or do not fit the module.
        """
        source = self.load_weights(self.copied)
        loading.merge_adapters(self.copied)
        return LoadedModule(self.copied, source, self.loaders, self.started, self.moment, self.changed)


@dataclasses.dataclass(frozen=True)
class Finished:
    """The result of a job.

    Attributes:
        job: The job.
        result: The artifact, or the error that prevented it.
        loaded: The module with its weights; None if they could not be loaded.
        concurrent: Whether the job ran at the same time as the training.
        is_stale: Whether the graph has other settings than the module had with these weights.
    """

    job: Job
    result: ONNXArtifact | Exception
    loaded: LoadedModule | None = None
    concurrent: bool = False
    is_stale: bool = False

    @property
    def has_failed_check(self) -> bool:
        """Whether there is an artifact with a failed check."""
        return isinstance(self.result, ONNXArtifact) and not self.result.passed

    @property
    def failed_checks(self) -> str:
        """Names of the failed checks, in words."""
        if not isinstance(self.result, ONNXArtifact):
            return "the export"
        records = self.result.record.by_method.values()
        names = [check.name for record in records for check in record.checks if check.status == "failed"]
        return " and ".join(dict.fromkeys(names)) or "a check"


def checkpoint_job(fit: Fit, follower: CheckpointFollower, saved: Saved, just_saved: bool, moments: Moments) -> Job:
    """Return the job of a checkpoint, with the file already open, because the next save may remove it.

    Args:
        fit: The fit.
        follower: Follows the checkpoints.
        saved: The checkpoint.
        just_saved: Whether it was saved just now. A weights-only checkpoint does not contain the averages of a
            ``WeightAveraging`` callback, but the callback still has them.
        moments: The module's attributes when checkpoints were saved.

    Raises:
        WeightsError: If the file cannot be opened, or the module cannot be copied.
    """
    started = time.perf_counter()
    moment = moments.at(saved.path)
    changed = moments.changed(fit.module) if moment is None else ()
    opened = open_checkpoint(saved.path)
    copied = private_copy(fit.module, loading.empty(fit.module))
    is_averaged = loading.averaging(fit.trainer) is not None
    lacks_averages = just_saved and getattr(follower.checkpoint, "save_weights_only", True)
    averages = loading.averages(fit.trainer, fit.module) if lacks_averages else None
    origin = _origin(fit.trainer)
    kind = "best" if saved.path == follower.best else "checkpoint"

    def load_weights(module: nn.Module) -> Source:
        with opened:
            content = opened.read()
        if moment is not None:
            attributes.put(module, moment)
        for note in loading.load_checkpoint(module, content, averages, is_averaged):
            warn(f"ONNX export: {saved.name}: {note}")
        trainer_view.show_moment(module, content.get("epoch"), content.get("global_step"))
        return dataclasses.replace(
            origin,
            weights=kind,
            epoch=content.get("epoch"),
            global_step=content.get("global_step"),
            checkpoint=saved.name,
            monitor=saved.monitor,
            score=saved.score,
        )

    metrics = dict(fit.trainer.callback_metrics)
    if saved.monitor is not None and saved.score is not None:
        metrics[saved.monitor] = torch.tensor(saved.score)
    digests = None if moment is None else moment.digests
    return Job(saved.path, copied, load_weights, metrics, loaders_of(fit.trainer), started, digests, changed)


def live_job(fit: Fit, epoch: int, gathered: Mapping[str, Tensor] | None) -> Job:
    """Return the job of the module's current weights.

    Args:
        fit: The fit.
        epoch: Epoch of the weights, counted from 0.
        gathered: Parameters and buffers by name, if they were sharded.

    Raises:
        WeightsError: If the module cannot be copied.
    """
    started = time.perf_counter()
    weights = "live" if fit.trainer.fit_loop.epoch_loop.batch_progress.total.completed else "untrained"
    if weights == "untrained":
        warn("ONNX export: no batch was trained, so the file has the weights from before training")
    step = fit.trainer.global_step
    source = dataclasses.replace(_origin(fit.trainer), weights=weights, epoch=epoch, global_step=step)
    _free_previous_copy(fit.module)
    copied = private_copy(fit.module, gathered)
    trainer_view.show_moment(copied, epoch, None)  # after the last epoch, the Trainer counts one more
    metrics = dict(fit.trainer.callback_metrics)
    return Job(LIVE, copied, lambda module: source, metrics, loaders_of(fit.trainer), started)


def _free_previous_copy(module: nn.Module) -> None:
    """Collect the copy that was traced before, which reference cycles of torch keep alive, if it is worth the time."""
    if weight_bytes(module) >= WORTH_COLLECTING:
        gc.collect()


def _origin(trainer: Trainer) -> Source:
    return Source(precision=str(trainer.precision), device=trainer.strategy.root_device.type, run=_run(trainer))


def _run(trainer: Trainer) -> str | None:
    """Return the name and version that the first logger shows for the run."""
    if trainer.logger is None:
        return None
    name, version = trainer.logger.name, trainer.logger.version
    numbered = f"version_{version}" if isinstance(version, int) else version
    return "/".join(map(str, filter(None, (name, numbered)))) or None


class Maker:
    """Makes the artifacts of jobs. Errors are part of the result, so the next job runs anyway.

    Args:
        store: The store of the artifacts.
        planners: Returns the plans of a module, with a new trace of a method whose plan does not fit.
        filename: Template of an artifact's name; None for the default.
    """

    def __init__(self, store: Store, planners: Planners, filename: str | None) -> None:
        self.store = store
        self.planners = planners
        self.filename = filename

    @profiled()
    def make(self, job: Job, fit: Fit) -> Finished:
        """Make an artifact now, with a new trace if needed; if a check fails on an earlier trace, trace and retry."""
        loaded = None
        try:
            before = self.planners.plans
            with stages_named(job.copied, str(self.planners), "loading the weights") as enter:
                loaded = self._loaded(job)
                enter("comparing the module with the last trace")
                plans = self.planners.current(fit.module, job.copied, fit.on_stage)
            finished = Finished(job, self._produce(plans, job, loaded, fit.on_stage), loaded)
            are_new = before is None or all(now.graph is not was.graph for now, was in zip(plans, before, strict=True))
            return self.make_from_new_trace(finished, fit) if finished.has_failed_check and not are_new else finished
        except Exception as error:
            return Finished(job, error, loaded)

    def _loaded(self, job: Job) -> LoadedModule:
        loaded = job.load()
        self.planners.attach(job.copied)
        return loaded

    def make_concurrently(self, job: Job, plans: Plans) -> Finished:
        """Make an artifact in another thread, without touching the module in training or the random state."""
        loaded = None
        try:
            with stages_named(job.copied, str(self.planners), "loading the weights") as enter:
                loaded = self._loaded(job)
                enter("comparing the module with the last trace")
                for plan in plans:
                    plan.reset(job.copied)
                is_stale = not all(plan.serves(job.copied) for plan in plans)
            result = self._produce(plans, job, loaded, concurrent=True)
            return Finished(job, result, loaded, concurrent=True, is_stale=is_stale)
        except Exception as error:
            return Finished(job, error, loaded)

    def make_from_new_trace(self, finished: Finished, fit: Fit) -> Finished:
        """Trace the module with these weights, because its attributes may have changed since it was traced.

        Returns:
            The new result. If the trace failed, the earlier one, or the error if the earlier one is stale.
        """
        job, loaded = finished.job, finished.loaded
        assert loaded is not None
        try:
            because = None if finished.is_stale else f"{finished.failed_checks} failed with the last trace"
            plans = self.planners.trace(fit.module, job.copied, fit.on_stage, because=because)
            result = self._produce(plans, job, loaded, fit.on_stage, earlier=finished.result)
        except ONNXExportError as error:
            if not finished.is_stale:
                return finished
            if isinstance(finished.result, ONNXArtifact):  # of another graph than the module has
                shutil.rmtree(finished.result.directory, ignore_errors=True)
            return dataclasses.replace(finished, result=error)
        return dataclasses.replace(finished, result=result, is_stale=False)

    def _produce(
        self,
        plans: Plans,
        job: Job,
        loaded: LoadedModule,
        on_stage: OnStage = no_progress,
        *,
        concurrent: bool = False,
        earlier: ONNXArtifact | Exception | None = None,
    ) -> ONNXArtifact:
        name = artifact_name(self.filename, loaded.source, job.metrics)
        with self.store.place(job.key, name, earlier) as (directory, if_taken):
            return produce(plans, loaded, directory, if_taken=if_taken, concurrent=concurrent, on_stage=on_stage)
