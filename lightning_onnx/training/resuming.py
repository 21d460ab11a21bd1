"""Takes over the artifacts that an earlier part of a resumed run left, and removes those that are out of date.

What stands in an artifact's name is what it holds: the checkpoint of that name, in its current version.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.artifacts.store import Store
from lightning_onnx.errors import WeightsError
from lightning_onnx.module.weights.checkpoint_file import open_checkpoint
from lightning_onnx.training.checkpoint_follower import CheckpointFollower, Saved, is_missing


@dataclasses.dataclass(frozen=True)
class Earlier:
    """What the earlier part of a resumed run left in the checkpoint.

    Attributes:
        names: Names of artifacts by file name of their checkpoint.
        owner: The run, as the index names it; None if unknown.
        is_known: Whether the checkpoint had a state of the callback at all.
    """

    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    owner: str | None = None
    is_known: bool = False

    @classmethod
    def read(cls, state: Mapping[str, Any]) -> Earlier:
        """Read it from the callback's state."""
        return cls(dict(state.get("artifacts", {})), state.get("owner"), is_known=True)

    @staticmethod
    def state(store: Store | None) -> dict[str, Any]:
        """Return the callback's state."""
        if store is None:
            return {"artifacts": {}}
        names = {os.path.basename(key): artifact.name for key, artifact in store.artifacts.items() if key}
        return {"artifacts": names, "owner": store.owner}


def adopt_earlier(store: Store, follower: CheckpointFollower, earlier: Earlier) -> None:
    """Adopt the artifacts of checkpoints that are still kept; the next look returns the checkpoints without one.

    Artifacts of this run whose checkpoint was written again are removed. Those of other runs in the same directory are
    neither adopted nor removed, even if their checkpoints have the same names.

    Args:
        store: The store of the artifacts.
        follower: Follows the checkpoints, with the restored state of the ModelCheckpoint.
        earlier: What the earlier part of the run left.
    """
    kept = follower.look()
    own = _own_names(store, earlier, kept)
    for saved in kept:
        named = earlier.names.get(saved.name)
        made = [name for name in own if store.checkpoint_of(name) == saved.name]
        if not any(_adopt(store, saved.path, name) for name in sorted(made, key=lambda name: name != named)):
            follower.forget(saved.path)
    adopted = {artifact.name for artifact in store.artifacts.values()}
    folders = {os.path.dirname(path) for path in follower.kept}
    for name in own - adopted:  # of checkpoints that the ModelCheckpoint does not know
        checkpoint = store.checkpoint_of(name)
        for path in (f"{folder}/{checkpoint}" for folder in folders if checkpoint):
            if not is_missing(path) and _adopt(store, path, name, key=f"{path} again"):
                del store.artifacts[f"{path} again"]


def _own_names(store: Store, earlier: Earlier, kept: Iterable[Saved]) -> set[str]:
    """Return the names of this run's artifacts, and make the store go on as their owner.

    Without a state, as with other options or without this callback, a run is the one that exported a kept checkpoint in
    its current version.
    """
    owners, names = store.owners(), store.names()
    if earlier.owner is not None:
        known = {earlier.owner} & set(owners.values())
    elif not earlier.is_known:
        known = {owners[name] for saved in kept for name in names if name in owners and _fits(store, saved, name)}
    else:  # of version 0.1
        known = {owners[name] for name in earlier.names.values() if name in owners} or set(owners.values())
    if len(known) == 1:
        store.owner = known.pop()
    is_shared = set(owners.values()) - {store.owner}
    # An artifact that the index has lost belongs to the run whose checkpoint names it.
    unlisted = {name for name in names if name not in owners and (not is_shared or name in earlier.names.values())}
    return unlisted | {name for name in names if owners.get(name) == store.owner}


def _fits(store: Store, saved: Saved, name: str) -> bool:
    """Tell whether an artifact was made from the current version of a checkpoint, without adopting it."""
    if store.checkpoint_of(name) != saved.name:
        return False
    artifact = store.adopt(saved.path, name)
    return artifact is not None and bool(is_current(store.artifacts.pop(saved.path), saved.path))


def _adopt(store: Store, path: str, name: str, key: str | None = None) -> bool:
    """Adopt the artifact ``name`` if it was made from the current version of the checkpoint; remove it if not.

    Args:
        store: The store of the artifacts.
        path: Path of the checkpoint.
        name: Name of the artifact.
        key: Key of the artifact in the store; None for the path.

    Returns:
        Whether it was adopted.
    """
    artifact = store.adopt(key or path, name)
    if artifact is None:
        return False
    current = is_current(artifact, path)
    if current is False:
        store.remove(key or path)
    elif current is None:
        del store.artifacts[key or path]
    return bool(current)


def remove_overwritten(store: Store, saved: Iterable[Saved]) -> None:
    """Remove the artifacts of checkpoints that were written again and not exported again.

    Args:
        store: The store of the artifacts.
        saved: The checkpoints that were saved since they were last exported.
    """
    for checkpoint in saved:
        artifact = store.artifacts.get(checkpoint.path)
        if artifact is not None and is_current(artifact, checkpoint.path) is False:
            store.remove(checkpoint.path)


def is_current(artifact: ONNXArtifact, path: str) -> bool | None:
    """Return whether an artifact was made from the current version of a checkpoint; None if that cannot be read."""
    source = artifact.record.source
    try:
        with open_checkpoint(path) as opened:
            step = opened.read().get("global_step")
    except WeightsError:
        return None
    return bool(source.checkpoint == os.path.basename(path) and step == source.global_step)
