"""Publishes artifacts to the run's loggers: numbers at once, files at once or for the best artifact at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightning.fabric.loggers.logger import Logger

from lightning_onnx import trackers
from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.deploy.hub import push
from lightning_onnx.notices import info, warn
from lightning_onnx.trackers.base import registers, say_unregistered
from lightning_onnx.training.fit_log import FitLog
from lightning_onnx.training.options import CallbackConfig


class Publisher:
    """Publishes artifacts according to the callback's options. A failing tracker stops neither the others nor the run.

    Args:
        options: The callback's own options.
        log: Records failures.
        is_silent: Whether to publish nothing, as with ``fast_dev_run``.
        location: Returns the path or URL where an artifact stays.
    """

    def __init__(
        self,
        options: CallbackConfig,
        log: FitLog,
        location: Callable[[ONNXArtifact], str],
        is_silent: bool = False,
    ) -> None:
        self.options = options
        self.log = log
        self.is_silent = is_silent
        self.location = location

    def publish_new(self, loggers: Sequence[Logger], artifact: ONNXArtifact, is_best: bool) -> None:
        """Log the numbers of a new artifact; with ``log_artifacts="all"``, its files too.

        Args:
            loggers: The Trainer's loggers.
            artifact: The artifact.
            is_best: Whether it is the best artifact so far.
        """
        if self.is_silent or self.options.log_artifacts is False:
            return
        if self.options.log_artifacts == "all":
            self._push(artifact, f"checkpoints/{artifact.name}")
            if is_best and artifact.passed:
                self._say_if_unregistered(loggers)
        for logger in trackers.targets(loggers):
            with self.log.recorded(f"{type(logger).__name__} did not accept the artifact"):
                trackers.log_scalars(logger, artifact, _step(artifact))
                if self.options.log_artifacts == "all":
                    self._publish_files(logger, artifact, is_best)

    def publish_best(self, loggers: Sequence[Logger], artifact: ONNXArtifact | None) -> None:
        """Publish the files of the run's best artifact at the end, also to the Hub, unless a check of it failed.

        Args:
            loggers: The Trainer's loggers.
            artifact: The best artifact, or None.
        """
        if self.is_silent or artifact is None:
            return
        self._push(artifact, "")
        if self.options.log_artifacts != "best":
            return
        if not artifact.passed:
            warn("ONNX export: not published, because a check failed (log_artifacts='all' publishes it)")
            return
        self._say_if_unregistered(loggers)
        for logger in trackers.targets(loggers):
            with self.log.recorded(f"{type(logger).__name__} did not accept the artifact"):
                self._publish_files(logger, artifact, is_best=True)

    def _say_if_unregistered(self, loggers: Sequence[Logger]) -> None:
        """Say that ``register_as`` has no effect if that is so for all loggers of the run."""
        found = trackers.targets(loggers)
        try:
            if self.options.register_as is None or any(map(registers, found)):
                return
        except Exception:  # of a tracker that cannot be imported, which is recorded when the artifact is published
            return
        say_unregistered(self.options.register_as, found)

    def _push(self, artifact: ONNXArtifact, folder: str) -> None:
        """Upload an artifact to the Hub, if there is one in the options, unless a check failed."""
        if self.options.hub is None:
            return
        if not artifact.passed:
            warn(f"ONNX export: {artifact.name} is not uploaded to the Hub, because a check failed")
            return
        with self.log.recorded("upload failed"):
            url = push(artifact, self.options.hub, folder, self.location(artifact))
            info(f"ONNX export: uploaded to {url}")

    def _publish_files(self, logger: Logger, artifact: ONNXArtifact, is_best: bool) -> None:
        is_best = is_best and artifact.passed
        aliases = ["latest", f"epoch={artifact.record.source.epoch}", *(["best"] if is_best else [])]
        is_registered = is_best and registers(logger)  # a registry is for deployable models
        name = self.options.register_as if is_registered else None
        trackers.publish(logger, artifact, aliases, _step(artifact), register_as=name, scalars=False)


def _step(artifact: ONNXArtifact) -> int:
    """Return the global step of an artifact's weights."""
    return artifact.record.source.global_step or 0
