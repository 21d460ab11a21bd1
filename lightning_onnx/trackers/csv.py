"""Lightning's CSVLogger: scalars in ``metrics.csv``, files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning_onnx.artifact import ONNXArtifact
from lightning_onnx.trackers.files import copy_below


class CSVTracker:
    """Keeps artifacts in ``<log_dir>/onnx``."""

    def publish(self, logger: Any, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        """Write the scalars out and copy the files."""
        # The logger holds rows back, and what comes after its last save is lost.
        logger.save()
        return copy_below(artifact, logger.log_dir)
