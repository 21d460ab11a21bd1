"""Lightning's WandbLogger: an artifact with aliases, the report as a page, a link into the registry."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.notices import warn
from lightning_onnx.trackers.describe import clean, clean_all

if TYPE_CHECKING:
    from lightning.pytorch.loggers import WandbLogger
    from wandb import Artifact, Run

_NAME = r"\w.-"
_ALIAS = r"\w.=+@ -"
_REGISTRY = "wandb-registry-model"


class WandbTracker:
    """Logs the directory as the artifact ``onnx-<run id>``, and the report as ``onnx/report``.

    The artifact's type is ``model``, because `use_model` and the registry take no other.

    Each published directory is a version of that artifact; its metadata is the manifest. W&B stages copies of the
    files, so that the directory may be removed before they are uploaded. ``register_as`` links the version to a
    collection of the registry ``model``; a name with a slash is taken as the whole path of a collection.
    """

    def publish(
        self,
        logger: WandbLogger,
        artifact: ONNXArtifact,
        aliases: Sequence[str],
        step: int,
        *,
        register_as: str | None = None,
    ) -> str | None:
        """Log the artifact and the report."""
        import wandb

        run = logger.experiment
        labels = [_alias(alias) for alias in clean_all(aliases, _ALIAS)]
        made = wandb.Artifact(
            clean(f"onnx-{run.id}", _NAME),
            type="model",
            description=artifact.report.summary,
            metadata=artifact.manifest,
        )
        made.add_dir(str(artifact.directory))
        run.log_artifact(made, aliases=labels)
        page = wandb.Html(artifact.report.html(), inject=False, data_is_not_path=True)
        run.log({"onnx/report": page, "trainer/global_step": step})
        if register_as is not None:
            _link(run, made, register_as, labels)
        return f"W&B artifact {made.name}"


def _alias(alias: str) -> str:
    """Return an alias that does not look like one of W&B's own version numbers."""
    return f"alias-{alias}" if re.fullmatch(r"v\d+", alias) else alias


def _link(run: Run, made: Artifact, register_as: str, aliases: list[str]) -> None:
    path = "/".join(clean(part, _NAME) for part in register_as.split("/"))
    target = path if "/" in path else f"{_REGISTRY}/{path}"
    if run.offline:
        warn(
            f"W&B links nothing to its registry offline, got register_as={register_as!r}. After `wandb sync`, call "
            f"`wandb.Api().artifact('<entity>/{run.project}/{made.name}:best').link({target!r})`."
        )
        return
    run.link_artifact(made, target, aliases=[alias for alias in aliases if alias != "latest"])
