"""The callback's own options: when it exports, which weights, and where the artifacts go."""

from __future__ import annotations

import dataclasses

from lightning_onnx.deploy.hub import Hub
from lightning_onnx.errors import ConfigurationError
from lightning_onnx.pipeline.options import choose
from lightning_onnx.training.checkpoint_follower import CheckpointCallback


@dataclasses.dataclass(frozen=True)
class CallbackConfig:
    """The options of ``ONNXExport`` that do not describe the file; its docstring describes each of them.

    Raises:
        ConfigurationError: If a value is invalid.
    """

    when: str = "fit_end"
    weights: str = "best"
    filename: str | None = None
    checkpoint: CheckpointCallback | None = None
    preflight: str | bool = "raise"
    on_failure: str = "warn"
    on_exception: bool = False
    background: bool = True
    log_artifacts: str | bool = "best"
    register_as: str | None = None
    hub: Hub | None = None

    def __post_init__(self) -> None:
        """Check everything that can be checked before a Trainer is known."""
        choose("when", self.when, ("fit_end", "checkpoint"))
        choose("weights", self.weights, ("best", "live"))
        choose("preflight", self.preflight, ("raise", "warn", False))
        choose("on_failure", self.on_failure, ("warn", "raise"))
        choose("on_exception", self.on_exception, (True, False))
        choose("background", self.background, (True, False))
        choose("log_artifacts", self.log_artifacts, ("best", "all", False))
        if self.when == "checkpoint" and self.weights == "live":
            raise ConfigurationError(
                'when="checkpoint" exports the weights of checkpoints, but weights="live" those of the module. '
                "Leave one of them out."
            )
        if self.register_as is not None and (not isinstance(self.register_as, str) or not self.register_as.strip()):
            raise ConfigurationError(f"register_as={self.register_as!r} is not a name. Give a name like 'classifier'.")
        if self.checkpoint is not None and not hasattr(self.checkpoint, "best_model_path"):
            raise ConfigurationError(
                f"checkpoint={self.checkpoint!r} is not a ModelCheckpoint. Give the one to follow, from the Trainer's "
                "callbacks."
            )
