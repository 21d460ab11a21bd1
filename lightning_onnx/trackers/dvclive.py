"""DVCLive's DVCLiveLogger: the directory in DVC's cache, and entries of ``dvc.yaml`` as aliases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.errors import ArtifactError
from lightning_onnx.trackers.base import say_once
from lightning_onnx.trackers.describe import clean_all, summary
from lightning_onnx.trackers.files import copy_below

if TYPE_CHECKING:
    from dvclive.lightning import DVCLiveLogger

_NAME = r"\w-"


class DVCLiveTracker:
    """Adds a copy of the directory to DVC, below ``<live dir>/artifacts``, with ``dvc.yaml`` pointing to it.

    A label in DVC stays with its artifact, while a name can move to another one: so the names ``onnx-best``,
    ``onnx-latest`` and so on are the aliases. Without a DVC repository the files are copied to ``<live dir>/onnx``.
    """

    def publish(self, logger: DVCLiveLogger, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Copy the files, add them to DVC, and name them."""
        live = logger.experiment
        if live._dvc_repo is None:  # log_artifact would warn and keep nothing
            say_once(
                "DVCLive keeps artifacts in a DVC repository only: the ONNX files are copied into its own directory "
                "instead. `git init` and `dvc init` make a repository."
            )
            return copy_below(artifact, live.dir)
        live.log_artifact(str(artifact.directory), copy=True)
        place = Path(live.artifacts_dir) / artifact.name
        if not (place / "manifest.json").is_file():
            raise ArtifactError(f"DVCLive did not copy {artifact.directory} to {place}. Its own log says why.")
        for name in _names(artifact, aliases):
            meta = {"step": step, **summary(artifact)}
            live.log_artifact(str(place), type="model", name=name, labels=["onnx"], meta=meta, cache=False)
        return str(place)


def _names(artifact: ONNXArtifact, aliases: Sequence[str]) -> list[str]:
    names = clean_all((f"onnx-{text}" for text in (artifact.name, *aliases)), _NAME)
    return [name.rstrip("_-") for name in names]  # names in DVC end with a letter or a number
