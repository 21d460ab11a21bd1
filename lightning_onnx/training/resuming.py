"""Takes over the artifacts that an earlier part of a resumed run left, if they still hold what their names say."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from lightning_onnx.artifacts.store import Store
from lightning_onnx.errors import WeightsError
from lightning_onnx.module.weights.checkpoint_file import open_checkpoint
from lightning_onnx.training.checkpoint_follower import CheckpointFollower, Saved


def adopt_earlier(store: Store, follower: CheckpointFollower, names: Mapping[str, str]) -> None:
    """Adopt the artifacts of checkpoints that are still kept; the next look returns the checkpoints without one.

    Args:
        store: The store of the artifacts.
        follower: Follows the checkpoints, with the restored state of the ModelCheckpoint.
        names: Names of artifacts by file name of their checkpoint.
    """
    for saved in follower.look():
        name = names.get(saved.name)
        candidates = [name] if name else store.made_from(saved.name)
        if not any(_adopt(store, saved, candidate) for candidate in candidates):
            follower.forget(saved.path)


def _adopt(store: Store, saved: Saved, name: str) -> bool:
    """Adopt the artifact ``name`` if it was made from the current version of the checkpoint."""
    artifact = store.adopt(saved.path, name)
    if artifact is None:
        return False
    source = artifact.record.source
    if source.checkpoint == saved.name:
        with contextlib.suppress(WeightsError), open_checkpoint(saved.path) as opened:
            if opened.read().get("global_step") == source.global_step:
                return True
    del store.artifacts[saved.path]
    return False
