"""Rank zero's side of one fit: the plan, the artifacts and what becomes of them. Knows no hook and no other rank."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import gc
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lightning_onnx import trackers
from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.artifacts.naming import artifact_name
from lightning_onnx.artifacts.store import Store
from lightning_onnx.checks.validation import Loaders, loaders_of
from lightning_onnx.errors import ConfigurationError, ONNXExportError, WeightsError
from lightning_onnx.module.calls import matching
from lightning_onnx.module.calls.observer import ForwardObserver, Observation
from lightning_onnx.module.weights import copying, loading, source, state
from lightning_onnx.module.weights.checkpoint_file import open_checkpoint
from lightning_onnx.module.weights.scripted import has_scripts
from lightning_onnx.pipeline import prepare
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.prepare import Plan
from lightning_onnx.pipeline.produce import LoadedModule, no_progress, produce
from lightning_onnx.training.checkpoint_follower import CheckpointFollower, Saved
from lightning_onnx.training.options import CallbackConfig

LIVE = ""
"""Key of the artifact of the live weights, where others have their checkpoint's path."""


@dataclasses.dataclass
class _Job:
    """One artifact to make.

    ``load`` puts the weights into ``copied``, which holds others until then, and says where they come from.
    """

    key: str
    copied: torch.nn.Module
    load: Callable[[torch.nn.Module], source.Source]
    metrics: Mapping[str, Any]
    loaders: Loaders
    started: float
    source: source.Source | None = None
    result: ONNXArtifact | BaseException | None = None
    made_concurrently: bool = False

    @property
    def name(self) -> str:
        """What it is made from, for people."""
        return os.path.basename(self.key) or "the live weights"


class Exporter:
    """Makes the artifacts of one fit.

    Args:
        config: What to export and how.
        options: The callback's own options.
        store: Where artifacts go.
        observer: What records the module's calls.
        followed: The ModelCheckpoint to follow; None where there is none.
        quick: Whether this is a quick try, of which loggers get nothing.
    """

    def __init__(
        self,
        config: ExportConfig,
        options: CallbackConfig,
        store: Store,
        observer: ForwardObserver,
        followed: Any,
        quick: bool = False,
    ) -> None:
        self.config = config
        self.options = options
        self.store = store
        self.observer = observer
        self.follower = None if followed is None else CheckpointFollower(followed)
        self.quick = quick
        self.step: Callable[[str], None] = lambda name: None
        self.failures: list[str] = []
        self.plan: Plan | None = None
        self.errors: list[BaseException] = []
        self.newest: ONNXArtifact | None = None
        self._planned_calls = 0
        self._traces = 0
        self._retraced = False
        self._resumed = False
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._running: concurrent.futures.Future[list[_Job]] | None = None

    @property
    def best(self) -> ONNXArtifact | None:
        """The artifact of the best checkpoint, where it was made."""
        return self.store.artifacts.get(self.follower.best) if self.follower is not None else None

    @property
    def artifact(self) -> ONNXArtifact | None:
        """The best, else the newest artifact."""
        return self.best if self.best is not None and self.options.weights == "best" else self.newest

    # The plan -------------------------------------------------------------------------------------------------------

    def preflight(self, pl_module: LightningModule, gathered: Mapping[str, torch.Tensor] | None = None) -> None:
        """Trace the module as it is now.

        Args:
            pl_module: The module that trains.
            gathered: Its parameters and buffers, where they are spread over ranks.
        """
        copied = copying.private_copy(pl_module, gathered)
        loading.merge_adapters(copied)
        self._prepare(pl_module, copied)

    def _prepare(self, pl_module: LightningModule, copied: torch.nn.Module) -> Plan:
        started = time.perf_counter()
        rank_zero_info(f"ONNX export: tracing {type(pl_module).__name__}.{self.config.method}")
        self.step("tracing")
        plan = self.plan = prepare.prepare(copied, self._observations(pl_module), self.config)
        self._planned_calls = self.observer.count()
        self._traces += 1
        for note in plan.notes:
            rank_zero_warn(f"ONNX export: {note}")
        rank_zero_info(
            f"ONNX export: {plan.graph.signature} at opset {plan.config.opset} by engine "
            f"'{plan.graph.traced.engine}' in {time.perf_counter() - started:.1f} s"
        )
        return plan

    def _observations(self, pl_module: LightningModule) -> list[Observation]:
        if self.config.sample is not None:
            call = matching.as_call(self.config.sample)
            sample = matching.sample_of(pl_module, self.config.method, call)
            seen = [o for o in self.observer.observations() if o.samples[0].paths == sample.paths]
            given = Observation.of(sample, "the sample given")
            return [dataclasses.replace(given, shapes=(*given.shapes, *(s for o in seen for s in o.shapes)))]
        found = self.observer.observations()
        example = getattr(pl_module, "example_input_array", None)
        if not found and example is not None and self.config.method == "forward":
            with contextlib.suppress(ConfigurationError):
                sample = matching.sample_of(pl_module, "forward", matching.as_call(example))
                found.append(Observation.of(sample, "example_input_array"))
        if not found:
            source = "the batch matched to the method's signature"
            found = matching.match(self.observer.signature, self.observer.batches, source, self.config.method)
        return found

    def _current_plan(self, pl_module: LightningModule, copied: torch.nn.Module) -> Plan:
        """The plan of preflight, unless the module or its calls have changed since."""
        plan = self.plan
        if plan is None or plan.structure != state.structure_of(copied) or has_scripts(copied):
            return self._prepare(pl_module, copied)
        if self.observer.count() != self._planned_calls:
            request = prepare.derive_request(copied, self._observations(pl_module), self.config)
            if not plan.covers(request):
                return self._prepare(pl_module, copied)
            plan = self.plan = prepare.with_calls(plan, copied, request)
        return plan

    # Beside training ------------------------------------------------------------------------------------------------

    def follow(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Between steps: take what is finished, start on the checkpoints that were saved since the last look."""
        assert self.follower is not None
        if self._running is not None and self._running.done():
            self._take(trainer, pl_module)
        if not self.follower.moved():
            return
        saved = self.follower.look()
        self._forget_removed()
        if saved:
            self.join(trainer, pl_module)
            self._start(trainer, pl_module, self._jobs(trainer, pl_module, saved))

    def join(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for what is in flight."""
        if self._running is not None:
            concurrent.futures.wait([self._running])
            self._take(trainer, pl_module)

    def resume(self, trainer: Trainer, names: Mapping[str, str]) -> None:
        """Take over what an earlier part of a resumed run left behind, so that nothing is exported twice.

        Args:
            trainer: The trainer; its checkpoint callbacks have their state back.
            names: Names of artifacts by the file name of their checkpoint.
        """
        if self.follower is None or trainer.ckpt_path is None or self._resumed:
            return
        self._resumed = True
        for saved in self.follower.look():
            name = names.get(saved.name)
            candidates = [name] if name else self.store.made_from(saved.name)
            if not any(self._was_made_from(saved, candidate) for candidate in candidates):
                self.follower.forget(saved.path)
        self._forget_removed()

    def _was_made_from(self, saved: Saved, name: str) -> bool:
        """Adopt the artifact of that name if it is that of the checkpoint."""
        artifact = self.store.adopt(saved.path, name)
        if artifact is None:
            return False
        source = artifact.manifest["source"]
        if source["checkpoint"] == saved.name:
            with contextlib.suppress(WeightsError), open_checkpoint(saved.path) as opened:
                if opened.read().get("global_step") == source["global_step"]:
                    return True
        del self.store.artifacts[saved.path]
        return False

    def _start(self, trainer: Trainer, pl_module: LightningModule, jobs: list[_Job]) -> None:
        if all(self._may_run_concurrently(job.copied, pl_module) for job in jobs):
            plan = self.plan
            assert plan is not None
            self._pool = self._pool or concurrent.futures.ThreadPoolExecutor(1, "lightning-onnx")
            self._running = self._pool.submit(self._make_all, plan, jobs)
        else:
            self._keep(trainer, pl_module, [self._make_now(job, pl_module) for job in jobs])

    def _may_run_concurrently(self, copied: torch.nn.Module, pl_module: LightningModule) -> bool:
        """Whether another thread may do it: tracing and random numbers would be seen by the training."""
        plan = self.plan
        return (
            self.options.background
            and not self.config.needs_validation
            and plan is not None
            and plan.graph.traced.model is None
            and not plan.is_stochastic
            and plan.structure == state.structure_of(copied)
            and not has_scripts(copied)
            and (self.observer.count() == self._planned_calls or plan.fits(self._observations(pl_module)))
        )

    def _make_all(self, plan: Plan, jobs: list[_Job]) -> list[_Job]:
        """In the other thread: touches neither the module that trains nor the random state."""
        for job in jobs:
            try:
                self._load(job)
                job.result = self._produce(plan, job, concurrent=True)
                job.made_concurrently = True
            except Exception as error:
                job.result = error
        return jobs

    def _take(self, trainer: Trainer, pl_module: LightningModule) -> None:
        running, self._running = self._running, None
        assert running is not None
        self._keep(trainer, pl_module, running.result())

    # Making ---------------------------------------------------------------------------------------------------------

    def _jobs(self, trainer: Trainer, pl_module: LightningModule, saved: list[Saved]) -> list[_Job]:
        jobs = []
        for checkpoint in saved:
            try:
                jobs.append(self._job(trainer, pl_module, checkpoint))
            except Exception as error:
                self.record(error, f"of {checkpoint.name} failed")
        return jobs

    def _job(self, trainer: Trainer, pl_module: LightningModule, saved: Saved) -> _Job:
        """What making a checkpoint's artifact takes, with the file open: the next save may remove it."""
        started = time.perf_counter()
        assert self.follower is not None
        opened = open_checkpoint(saved.path)
        copied = copying.private_copy(pl_module, loading.empty(pl_module))
        averaged = loading.averaging(trainer) is not None
        raw = self.options.when == "checkpoint" and getattr(self.follower.checkpoint, "save_weights_only", True)
        averages = loading.averages(trainer, pl_module) if raw else None
        origin, best = self._origin(trainer), self.follower.best

        def load(module: torch.nn.Module) -> source.Source:
            with opened:
                content = opened.read()
            for note in loading.load_checkpoint(module, content, averages, averaged):
                rank_zero_warn(f"ONNX export: {saved.name}: {note}")
            kind = "best" if saved.path == best else "checkpoint"
            return dataclasses.replace(
                origin,
                weights=kind,
                epoch=content.get("epoch"),
                global_step=content.get("global_step"),
                checkpoint=saved.name,
                monitor=saved.monitor,
                score=saved.score,
            )

        metrics = dict(trainer.callback_metrics)
        if saved.monitor is not None and saved.score is not None:
            metrics[saved.monitor] = torch.tensor(saved.score)
        return _Job(saved.path, copied, load, metrics, loaders_of(trainer), started)

    def _live_job(
        self, trainer: Trainer, pl_module: LightningModule, epoch: int, gathered: Mapping[str, torch.Tensor] | None
    ) -> _Job:
        started = time.perf_counter()
        source = dataclasses.replace(self._origin(trainer), epoch=epoch, global_step=trainer.global_step)
        gc.collect()  # what torch traced with refers to itself, and holds the earlier copy
        copied = copying.private_copy(pl_module, gathered)
        metrics = dict(trainer.callback_metrics)
        return _Job(LIVE, copied, lambda module: source, metrics, loaders_of(trainer), started)

    def _origin(self, trainer: Trainer) -> source.Source:
        return source.Source(precision=str(trainer.precision), device=trainer.strategy.root_device.type)

    def _make_now(self, job: _Job, pl_module: LightningModule) -> _Job:
        try:
            self._load(job)
            traces = self._traces
            job.result = self._produce(self._current_plan(pl_module, job.copied), job)
            if not job.result.proven and self._traces == traces:
                self._trace_again(job, pl_module)
        except Exception as error:
            job.result = error
        return job

    def _load(self, job: _Job) -> None:
        job.source = job.load(job.copied)
        loading.merge_adapters(job.copied)

    def _trace_again(self, job: _Job, pl_module: LightningModule) -> None:
        """Trace the module with these weights: its attributes may have changed since it was traced."""
        with contextlib.suppress(ONNXExportError):  # then the first one stays, marked as it is
            job.result = self._produce(self._prepare(pl_module, job.copied), job)

    def _produce(self, plan: Plan, job: _Job, concurrent: bool = False) -> ONNXArtifact:
        source = job.source
        assert source is not None
        name = artifact_name(self.options.filename, source, job.metrics)
        with self.store.place(job.key, name, job.result) as (directory, replace):
            loaded = LoadedModule(job.copied, source, job.loaders, job.started)
            on_stage = no_progress if concurrent else self.step
            return produce(plan, loaded, directory, replace=replace, concurrent=concurrent, on_stage=on_stage)

    # Keeping --------------------------------------------------------------------------------------------------------

    def _keep(self, trainer: Trainer, pl_module: LightningModule, jobs: list[_Job]) -> None:
        for job in jobs:
            try:
                self._keep_one(trainer, pl_module, job)
            except Exception as error:  # of a directory elsewhere, say; the others are kept
                self.record(error, f"of {job.name} was made and not kept")
        self._forget_removed()

    def _keep_one(self, trainer: Trainer, pl_module: LightningModule, job: _Job) -> None:
        failed = isinstance(job.result, ONNXArtifact) and not job.result.passed
        if job.made_concurrently and failed and not self._retraced:
            # Once in a run, until it helps: weights that are not finite fail however the module is traced.
            self._trace_again(job, pl_module)
            self._retraced = isinstance(job.result, ONNXArtifact) and not job.result.passed
        if isinstance(job.result, ONNXArtifact):
            self.store.add(job.key, job.result)
            self.newest = job.result
            self._tell(job.result)
            self._publish_as_made(trainer, job.result)
        elif job.result is not None:
            self.record(job.result, f"of {job.name} failed")

    def _forget_removed(self) -> None:
        """Remove the artifacts of checkpoints that are gone, and write down what is left."""
        if self.options.when == "checkpoint" and self.follower is not None:
            kept = {*self.follower.kept, LIVE}
            for key in [k for k in self.store.artifacts if k not in kept]:
                self.store.remove(key)
        best = self.best
        try:
            self.store.write_index(self.follower.best if self.follower and best is not None and best.passed else None)
        except OSError as error:
            self.record(error, "could not write the index")

    def _tell(self, made: ONNXArtifact) -> None:
        for kind, found in (("", made.manifest["checks"]), ("variant ", made.manifest["variants"])):
            for end in found:
                reason = f": {end['reason']}" if end["reason"] else ""
                line = f"ONNX export: {kind}{end['name']} {end['status']}{reason}"
                if end["status"] == "passed":
                    rank_zero_info(line)
                else:
                    rank_zero_warn(line)
                if end["status"] == "failed":
                    self.failures.append(line)
        rank_zero_info(f"ONNX export: wrote {made.directory} in {made.manifest['scalars']['export_seconds']} s")

    def record(self, error: BaseException, what: str = "failed") -> None:
        """Note a failure, and warn of it."""
        self.errors.append(error)
        self.failures.append(f"{what}: {type(error).__name__}: {error}")
        rank_zero_warn(f"ONNX export {self.failures[-1]}")

    # Trackers -------------------------------------------------------------------------------------------------------

    def _publish_as_made(self, trainer: Trainer, made: ONNXArtifact) -> None:
        """Log figures of every artifact; the files too where all are asked for."""
        if self.quick or self.options.log_artifacts is False:
            return
        for logger in trackers.targets(trainer.loggers):
            with self._one_tracker(logger):
                trackers.log_scalars(logger, made, _step(made))
                if self.options.log_artifacts == "all":
                    self._file(logger, made)

    def _publish_best(self, trainer: Trainer) -> None:
        made = self.artifact
        if self.quick or self.options.log_artifacts != "best" or made is None:
            return
        if not made.passed:
            rank_zero_warn("ONNX export: not given to the loggers, because a check failed (log_artifacts='all' would)")
            return
        for logger in trackers.targets(trainer.loggers):
            with self._one_tracker(logger):
                self._file(logger, made)

    def _file(self, logger: Any, made: ONNXArtifact) -> None:
        aliases = self._aliases(made)
        name = self.options.register_as if "best" in aliases else None  # a registry is of what may be deployed
        trackers.publish(logger, made, aliases, _step(made), register_as=name, scalars=False)

    @contextlib.contextmanager
    def _one_tracker(self, logger: Any) -> Iterator[None]:
        """One tracker's failure stops neither the others nor the run."""
        try:
            yield
        except Exception as error:
            self.record(error, f"{type(logger).__name__} did not take the artifact")

    def _aliases(self, made: ONNXArtifact) -> list[str]:
        aliases = ["latest", f"epoch={made.manifest['source']['epoch']}"]
        return [*aliases, "best"] if made.passed and made == self.artifact else aliases

    # The end --------------------------------------------------------------------------------------------------------

    def finish(
        self, trainer: Trainer, pl_module: LightningModule, epoch: int, gathered: Mapping[str, torch.Tensor] | None
    ) -> None:
        """Export what is due at the end of fit, or of a fit that was broken off.

        Args:
            trainer: The trainer.
            pl_module: The module that was trained.
            epoch: The epoch of its weights.
            gathered: Its parameters and buffers, where they were spread over ranks.
        """
        saved = [] if self.follower is None or self.options.weights == "live" else self.follower.look()
        if self.options.when == "checkpoint":
            self.join(trainer, pl_module)
            self._keep(
                trainer, pl_module, [self._make_now(j, pl_module) for j in self._jobs(trainer, pl_module, saved)]
            )
        if self.options.when == "fit_end" or not (self.store.artifacts or self.errors):
            best = self._best_saved(saved)
            if best is not None:
                job = self._job(trainer, pl_module, best)
            elif self.best is None or self.options.weights == "live":
                job = self._live_job(trainer, pl_module, epoch, gathered)
            else:
                job = None  # an earlier part of the run made it
            if job is not None:
                self._keep(trainer, pl_module, [self._make_now(job, pl_module)])
        self._publish_best(trainer)

    def _best_saved(self, saved: list[Saved]) -> Saved | None:
        """The best checkpoint where its artifact is to be made."""
        if self.follower is None or self.options.weights == "live":
            return None
        if not self.follower.best:
            rank_zero_warn("ONNX export: the followed ModelCheckpoint has saved nothing; the live weights are exported")
            return None
        due = self.follower.best not in self.store.artifacts or any(s.path == self.follower.best for s in saved)
        return self.follower.describe(self.follower.best) if due else None

    def break_off(self, trainer: Trainer, pl_module: LightningModule, epoch: int) -> None:
        """Take what is in flight; the training ends with an error."""
        self.join(trainer, pl_module)
        if self.options.on_exception and (self.observer.calls or self.plan is not None):
            self.finish(trainer, pl_module, epoch, None)

    def close(self) -> None:
        """End the thread."""
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None


def _step(made: ONNXArtifact) -> int:
    """The global step of an artifact's weights."""
    return int(made.manifest["source"]["global_step"] or 0)
