"""Where exported weights come from."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the exported weights come from; recorded in the manifest.

    Attributes:
        weights: ``"best"`` (the followed ModelCheckpoint's best so far), ``"checkpoint"`` (another), ``"live"``, or
            ``"untrained"`` (the live ones of a fit that trained no batch).
        epoch: Epoch of the weights, counted from 0.
        global_step: Number of optimizer steps before these weights.
        checkpoint: File name (without directory) of the checkpoint; None for live weights.
        monitor: Name of the metric that selected the checkpoint.
        score: Value of that metric.
        precision: Training precision, as Lightning names it.
        device: Type of the training device.
        run: Name of the run, as its first logger has it; None without a logger.
    """

    weights: str = "live"
    epoch: int | None = None
    global_step: int | None = None
    checkpoint: str | None = None
    monitor: str | None = None
    score: float | None = None
    precision: str | None = None
    device: str | None = None
    run: str | None = None
