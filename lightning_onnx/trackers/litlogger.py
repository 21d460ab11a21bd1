"""Lightning's LitLogger: files of the experiment on lightning.ai, a version in the model registry on request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.trackers.describe import clean, clean_all, summary

if TYPE_CHECKING:
    from lightning.pytorch.loggers import LitLogger

_KEY = r"\w.=-"
_MODEL = r"\w.-"


class LitLoggerTracker:
    """Uploads each file as ``onnx/<name of the artifact>/<file>``.

    An experiment's files have no aliases: its metadata ``onnx/best``, ``onnx/latest`` and so on hold the name of the
    artifact that they stand for. ``register_as`` uploads the directory as a version of that model, named like the
    artifact. Both uploads are over when the call returns.
    """

    def publish(
        self,
        logger: LitLogger,
        artifact: ONNXArtifact,
        aliases: Sequence[str],
        step: int,
        *,
        register_as: str | None = None,
    ) -> str | None:
        """Upload the files and name them."""
        from litlogger import File, Model

        experiment = logger.experiment
        key = f"onnx/{clean(artifact.name, _KEY)}"
        for path in sorted(artifact.directory.rglob("*")):
            if path.is_file():
                experiment[f"{key}/{path.relative_to(artifact.directory).as_posix()}"] = File(str(path))
        for alias in clean_all(aliases, _KEY):
            experiment[f"onnx/{alias}"] = artifact.name
        if register_as is not None:
            experiment[f"{key}/model"] = Model(
                str(artifact.directory),
                name=clean(register_as, _MODEL),
                version=clean(artifact.name, _MODEL),
                metadata={name: str(value) for name, value in summary(artifact).items()},
            )
        return f"{experiment.name}: {key}"
