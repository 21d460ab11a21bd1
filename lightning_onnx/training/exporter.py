"""Decides which artifacts of a fit to make and keep. Runs on rank zero, and knows neither hooks nor other ranks."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

from lightning.pytorch import Trainer
from torch import Tensor

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.artifacts.store import Store
from lightning_onnx.errors import NotReadyError, ONNXExportError, SearchTooLong
from lightning_onnx.module.calls.observer import ForwardObserver
from lightning_onnx.module.weights import loading
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.notices import warn
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.stages import stages_named
from lightning_onnx.training.background import Background
from lightning_onnx.training.checkpoint_follower import CheckpointCallback, CheckpointFollower, Saved
from lightning_onnx.training.fit_log import FitLog
from lightning_onnx.training.interruption import Interruption
from lightning_onnx.training.jobs import LIVE, Finished, Fit, Job, Maker, checkpoint_job, live_job
from lightning_onnx.training.moments import Moments
from lightning_onnx.training.options import CallbackConfig
from lightning_onnx.training.planners import Planners
from lightning_onnx.training.publishing import Publisher
from lightning_onnx.training.resuming import Earlier, adopt_earlier, remove_overwritten
from lightning_onnx.training.unexported import Unexported


class Exporter:
    """Makes, keeps and removes the artifacts of one fit.

    Args:
        configs: What to export and how, by method.
        options: The callback's own options.
        store: The store of the artifacts.
        observers: Records the calls of each method.
        followed: The ModelCheckpoint to follow, or None.
        interruption: Whether an interrupt of the run has ended exports.
        fast_dev_run: Whether this is a ``fast_dev_run``, which logs nothing.

    Attributes:
        moments: The module's plain attributes when checkpoints were saved.
        log: Messages for the user.
    """

    def __init__(
        self,
        configs: Sequence[ExportConfig],
        options: CallbackConfig,
        store: Store,
        observers: Sequence[ForwardObserver],
        followed: CheckpointCallback | None,
        interruption: Interruption,
        fast_dev_run: bool = False,
    ) -> None:
        self.options = options
        self.store = store
        self.follower = None if followed is None else CheckpointFollower(followed)
        self.log = FitLog()
        self._planners = Planners(configs, observers)
        self.moments = Moments(followed, self._planners.methods)
        self._maker = Maker(store, self._planners, options.filename)
        self._publisher = Publisher(options, self.log, store.location, is_silent=fast_dev_run)
        self._interruption = interruption
        self._background = Background(self._maker, interruption)
        self._unexported = Unexported(self.log)
        self._has_resumed = self._tracing_again_is_futile = False
        self._not_ready: list[str] = []

    @property
    def best(self) -> ONNXArtifact | None:
        """The artifact of the best checkpoint, if it was made."""
        return self.store.artifacts.get(self.follower.best) if self.follower is not None else None

    @property
    def artifact(self) -> ONNXArtifact | None:
        """The best artifact, or the newest if no checkpoint is the best; nothing takes the place of a missing best."""
        if self._follows_best and self.follower is not None and self.follower.best:
            return self.best
        return next(reversed(self.store.artifacts.values()), None)

    @property
    def can_trace(self) -> bool:
        """Whether there is a call of each method to trace with, other than the batch itself."""
        return self._planners.has_calls

    @property
    def _follows_best(self) -> bool:
        return self.options.weights == "best"

    def preflight(self, fit: Fit, gathered: Mapping[str, Tensor] | None = None) -> bool:
        """Trace the module as it is now; return False if it does not run yet.

        Args:
            fit: The fit.
            gathered: Parameters and buffers by name, if they are sharded.

        Raises:
            ONNXExportError: If it runs and cannot be exported.
        """
        try:
            with stages_named(fit.module, str(self._planners), "copying the module") as enter:
                copied = private_copy(fit.module, gathered)
                enter("merging the adapters")
                loading.merge_adapters(copied)
                enter("collecting the calls")
                self._planners.trace(fit.module, copied, fit.on_stage, is_preflight=True)
        except NotReadyError as error:
            self.log.wait(error)
            return False
        except SearchTooLong as error:
            self.log.postpone(error)
        return True

    def resume(self, trainer: Trainer, earlier: Earlier) -> None:
        """Adopt the artifacts of the earlier part of a resumed run, so that none is made twice.

        Args:
            trainer: The trainer, with the restored state of its checkpoint callbacks.
            earlier: What the earlier part left.
        """
        if self.follower is None or trainer.ckpt_path is None or self._has_resumed:
            return
        self._has_resumed = True
        adopt_earlier(self.store, self.follower, earlier)
        self._remove_outdated()

    def follow(self, fit: Fit) -> None:
        """Between steps: keep finished artifacts, and start on the checkpoints saved since the last look."""
        assert self.follower is not None
        if self._background.has_finished:
            self._join(fit)
        if not self.follower.has_changed():
            return
        saved = self.follower.look()
        self._remove_outdated()
        if saved:
            self._join(fit)
            self._start(fit, self._checkpoint_jobs(fit, saved))

    def finish(self, fit: Fit, epoch: int, gathered: Mapping[str, Tensor] | None) -> None:
        """Make the remaining artifacts at the end of a finished or interrupted fit, and publish the best.

        Args:
            fit: The fit.
            epoch: The epoch of the module's weights.
            gathered: Parameters and buffers by name, if they were sharded.
        """
        self.moments.look(fit.module)
        self._look_again_at_what_did_not_run()
        saved = [] if self.follower is None or not self._follows_best else self.follower.look_at_last(fit.trainer)
        if self.options.when == "checkpoint":
            self._join(fit)
            self._make(fit, self._checkpoint_jobs(fit, saved), is_last=True)
            self._unexported.look_for_deleted(self.follower, self.store)
        if self.options.when == "fit_end" or not (self.store.artifacts or self.log.errors):
            self._make(fit, self._last_jobs(fit, saved, epoch, gathered), is_last=True)
            remove_overwritten(self.store, saved)
        if self.follower is not None and self._follows_best and self.artifact is None:
            self._unexported.refuse(self.follower.best, self.options)
        else:
            self._publisher.publish_best(fit.trainer.loggers, self.artifact)
        if self.artifact is not None:
            self.log.conclude(self.artifact, self.store.location(self.artifact))

    def break_off(self, fit: Fit, epoch: int, *, is_interrupt: bool = False) -> None:
        """After an error: finish running exports (end one that hangs after an interrupt), and make the others."""
        if is_interrupt:
            self._interruption.arrive()
        with contextlib.suppress(SystemExit), self._interruption.ends(fit.trainer):
            self._join(fit)
            may_go_on = self.options.on_exception and not self._interruption.has_ended_exports
            if may_go_on and (self._planners.were_called or self._planners.plans is not None):
                self.finish(fit, epoch, None)
            elif self.follower is not None:
                remove_overwritten(self.store, self.follower.look())
                self._remove_outdated()

    def _look_again_at_what_did_not_run(self) -> None:
        """Make checkpoints due again that were saved before training finished the module."""
        if self.follower is not None:
            for path in self._not_ready:
                self.follower.forget(path)
        self._not_ready.clear()

    def close(self) -> None:
        """Stop the thread, and let go of the directory."""
        self._background.close()
        if self._interruption.has_ended_exports:
            self.log.record(ONNXExportError("the run was interrupted during the export"))
        with self.log.recorded("could not write the index"):
            self.store.close()

    def _checkpoint_jobs(self, fit: Fit, saved: list[Saved]) -> list[Job]:
        assert self.follower is not None
        jobs = []
        for checkpoint in saved:
            try:
                with stages_named(fit.module, str(self._planners), "copying the module"):
                    just_saved = self.options.when == "checkpoint"
                    jobs.append(checkpoint_job(fit, self.follower, checkpoint, just_saved, self.moments))
            except Exception as error:
                self._give_up(checkpoint.path, error)
        return jobs

    def _last_jobs(self, fit: Fit, saved: list[Saved], epoch: int, gathered: Mapping[str, Tensor] | None) -> list[Job]:
        """Return the job at the end: for the best checkpoint, or else the live weights; none if it is done."""
        best = self._best_due(saved)
        if best is not None:
            return self._checkpoint_jobs(fit, [best])
        if self.best is not None and self._follows_best:
            return []  # made by an earlier part of the run
        with stages_named(fit.module, str(self._planners), "copying the module"):
            return [live_job(fit, epoch, gathered)]

    def _best_due(self, saved: list[Saved]) -> Saved | None:
        """Return the best checkpoint if its artifact has to be made."""
        if self.follower is None or not self._follows_best:
            return None
        best = self.follower.best
        if not best:
            warn("ONNX export: the followed ModelCheckpoint has saved nothing; the live weights are exported")
            return None
        is_due = best not in self.store.artifacts or any(s.path == best for s in saved)
        return self.follower.describe(best) if is_due else None

    def _start(self, fit: Fit, jobs: list[Job]) -> None:
        """Make artifacts in the other thread if that is safe, otherwise now."""
        plans = self._planners.counted(fit.module)
        is_safe = self.options.background and all(self._planners.run_concurrently(fit.module, j.copied) for j in jobs)
        if plans is not None and is_safe:
            self._background.start(jobs, plans, fit.trainer)
        else:
            self._make(fit, jobs)

    def _join(self, fit: Fit) -> None:
        """Wait for the other thread, and keep its artifacts."""
        if finished := self._background.take():
            self._keep(fit, finished)

    def _make(self, fit: Fit, jobs: list[Job], *, is_last: bool = False) -> None:
        self._keep(fit, [self._maker.make(job, fit) for job in jobs], is_last=is_last)

    def _keep(self, fit: Fit, results: list[Finished], *, is_last: bool = False) -> None:
        for finished in results:
            if isinstance(finished.result, NotReadyError) and not is_last:
                self._not_ready.append(finished.job.key)
                self.log.wait(finished.result)
                continue
            try:
                self._keep_one(fit, finished)
            except Exception as error:  # such as an error of a remote directory; the others are kept
                self._unexported.record(finished.job.key, error, "was made but could not be kept")
        self._remove_outdated()

    def _keep_one(self, fit: Fit, finished: Finished) -> None:
        if finished.is_stale:
            finished = self._maker.make_from_new_trace(finished, fit)
        elif finished.concurrent and finished.has_failed_check and not self._tracing_again_is_futile:
            # Only until it fails once in a run: weights with NaN fail with any trace.
            finished = self._maker.make_from_new_trace(finished, fit)
            self._tracing_again_is_futile = finished.has_failed_check
        artifact = finished.result
        if isinstance(artifact, Exception):
            self._give_up(finished.job.key, artifact)
            return
        self.store.add(finished.job.key, artifact)
        self.log.report(artifact)
        if self.options.when == "checkpoint":  # one of several, of which the end of the run tells only the best
            self.log.tell_place(artifact, self.store.location(artifact))
        self._publisher.publish_new(fit.trainer.loggers, artifact, is_best=artifact == self.artifact)

    def _give_up(self, key: str, error: Exception) -> None:
        """Record a failed export, and remove the artifact of an earlier state of the same checkpoint."""
        self._unexported.record(key, error)
        with self.log.recorded("could not remove an outdated artifact"):
            self.store.remove(key)

    def _remove_outdated(self) -> None:
        """Remove the artifacts of removed checkpoints, and write the index of the others."""
        if self.options.when == "checkpoint" and self.follower is not None:
            for key in sorted(self.store.artifacts.keys() - {*self.follower.kept, LIVE}):
                with self.log.recorded("could not remove an outdated artifact"):
                    self.store.remove(key)
        best = self.best
        with self.log.recorded("could not write the index"):
            self.store.write_index(self.follower.best if self.follower and best is not None and best.passed else None)
