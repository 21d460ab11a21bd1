"""What the module was besides its weights when a checkpoint was saved: its plain attributes at that moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lightning_onnx.module.saved import Place
from lightning_onnx.module.weights import attributes
from lightning_onnx.training.checkpoint_follower import CheckpointCallback, CheckpointFollower


class Moments:
    """Keeps the plain attributes of a module for each checkpoint that the followed ModelCheckpoint keeps.

    Args:
        followed: The ModelCheckpoint; None where there is none.
    """

    def __init__(self, followed: CheckpointCallback | None) -> None:
        self._follower = None if followed is None else CheckpointFollower(followed)
        self._saving: dict[Place, Any] | None = None
        self._by_path: dict[str, Mapping[Place, Any]] = {}

    def begin(self) -> None:
        """Pass over the checkpoints that exist already: what the module was then is not known."""
        if self._follower is not None:
            self._follower.look()

    def saving(self, module: nn.Module) -> None:
        """Keep the attributes of a module of which a checkpoint is saved now."""
        if self._follower is not None:
            self._saving = attributes.snapshot(module)

    def look(self, module: nn.Module) -> None:
        """Assign what was kept, else the attributes as they are now, to the checkpoints saved since the last look."""
        if self._follower is None or not self._follower.has_changed():
            return
        saved = self._follower.look()
        kept = set(self._follower.kept)
        self._by_path = {path: values for path, values in self._by_path.items() if path in kept}
        if saved:
            values = attributes.snapshot(module) if self._saving is None else self._saving
            self._by_path.update({checkpoint.path: values for checkpoint in saved})
            self._saving = None

    def at(self, path: str) -> Mapping[Place, Any] | None:
        """Return the attributes at the moment at which a checkpoint was saved; None where they are not known."""
        return self._by_path.get(path)
