"""Neptune, which is no more: a message instead of files that go nowhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_onnx.artifact import ONNXArtifact
from lightning_onnx.errors import ConfigurationError


class NeptuneTracker:
    """Says that there is no Neptune; Lightning's own NeptuneLogger says so when it is made."""

    def publish(self, logger: Any, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Refuse.

        Raises:
            ConfigurationError: Always.
        """
        raise ConfigurationError(
            f"Neptune was shut down and keeps no artifacts, got a {type(logger).__name__}. Use another logger, such as "
            "MLFlowLogger, WandbLogger or LitLogger, or register a tracker for it: lightning_onnx.trackers.register."
        )
