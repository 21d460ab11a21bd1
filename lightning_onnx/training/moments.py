"""Keeps the module's plain attributes at the moment when a checkpoint was saved; the checkpoint has only weights."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from lightning_onnx.module.saved import Place
from lightning_onnx.module.weights import attributes
from lightning_onnx.module.weights.attributes import Snapshot
from lightning_onnx.training.checkpoint_follower import CheckpointCallback, CheckpointFollower


class Moments:
    """Keeps the plain attributes of a module for each checkpoint that the followed ModelCheckpoint keeps.

    Args:
        followed: The ModelCheckpoint, or None.
        methods: Names of the exported methods.
    """

    def __init__(self, followed: CheckpointCallback | None, methods: Sequence[str] = ("forward",)) -> None:
        self._follower = None if followed is None else CheckpointFollower(followed)
        self._methods = methods
        self._saving: Snapshot | None = None
        self._begun: Snapshot | None = None
        self._by_path: dict[str, Snapshot] = {}

    def begin(self, module: nn.Module) -> None:
        """Ignore the checkpoints that already exist: the attributes at their time are unknown."""
        if self._follower is not None:
            self._follower.look()
            if self._follower.kept:
                self._begun = attributes.snapshot(module, *self._methods)

    def saving(self, module: nn.Module) -> None:
        """Record the attributes of a module whose checkpoint is being saved."""
        if self._follower is not None:
            self._saving = attributes.snapshot(module, *self._methods)

    def look(self, module: nn.Module) -> None:
        """Assign the recorded attributes, or else the current ones, to the checkpoints saved since the last look."""
        if self._follower is None or not self._follower.has_changed():
            return
        saved = self._follower.look()
        kept = set(self._follower.kept)
        self._by_path = {path: values for path, values in self._by_path.items() if path in kept}
        if saved:
            values = attributes.snapshot(module, *self._methods) if self._saving is None else self._saving
            self._by_path.update({checkpoint.path: values for checkpoint in saved})
            self._saving = None

    def at(self, path: str) -> Snapshot | None:
        """Return the attributes at the time when a checkpoint was saved; None if unknown."""
        return self._by_path.get(path)

    def changed(self, module: nn.Module) -> list[Place]:
        """Return what changed in this fit besides weights: it had other values in the earlier one that it goes on with.

        Args:
            module: The module.
        """
        if self._begun is None:
            return []
        return attributes.changed(self._begun, attributes.snapshot(module, *self._methods))
