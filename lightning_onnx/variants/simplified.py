"""A variant with the same outputs and fewer operators."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import onnx

from lightning_onnx.checks.metric_names import Mode
from lightning_onnx.onnxfile import walk
from lightning_onnx.option_names import known_options
from lightning_onnx.variants import base, files
from lightning_onnx.variants.base import Making


@known_options
@dataclasses.dataclass(frozen=True)
class Simplified:
    """The model simplified by ``onnxsim``: constants folded, operators merged, with the same outputs as the module.

    Torch's files are already optimized: convolutional networks do not get smaller, but sequence models may.

    Args:
        max_metric_drop: How much worse a metric may get: 0.01 is a hundredth of an accuracy, or 1% of an error.
        metric: The metric that decides; default: all logged metrics, but no losses where an accuracy is logged.
        name: Its file is ``model.<name>.onnx``.
        metric_mode: ``"min"`` if lower values of ``metric`` are better, ``"max"`` if higher ones are; default: as
            ``ModelCheckpoint``, torchmetrics or the metric's name say.

    Example:
        >>> Simplified().name
        'simplified'
    """

    max_metric_drop: float = 0.01
    metric: str | None = None
    name: str = "simplified"
    metric_mode: Mode | None = None
    max_difference: float | None = dataclasses.field(default=None, init=False)
    needs_validation: bool = dataclasses.field(default=False, init=False)  # parity is sufficient

    def __post_init__(self) -> None:
        """Check the options."""
        base.check_options(self)

    def make(self, making: Making, destination: Path) -> list[str]:
        """Simplify."""
        base.need("onnxsim")
        removed: int = making.call(f"{__name__}:convert", str(making.model_path), str(destination))
        return [] if removed else ["it has as many operators as model.onnx"]


def convert(model_path: str, destination: str) -> int:
    """Write the simplified model, and return the number of operators removed."""
    import onnxsim

    model = onnx.load(model_path)
    before = sum(1 for _ in walk.nodes(model.graph))
    # Newer versions prove the result with z3 if it is installed; the parity check makes this unnecessary.
    options = {"certify": False} if "certify" in inspect.signature(onnxsim.simplify).parameters else {}
    with files.scratch():
        made, _ = onnxsim.simplify(model, **options)
    files.save(made, Path(model_path), Path(destination))
    return before - sum(1 for _ in walk.nodes(made.graph))
