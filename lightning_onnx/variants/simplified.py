"""The same numbers by fewer operators."""

from __future__ import annotations

import dataclasses
import inspect
from pathlib import Path

import onnx

from lightning_onnx.onnxfile import walk
from lightning_onnx.variants import base, files
from lightning_onnx.variants.base import Making


@dataclasses.dataclass(frozen=True)
class Simplified:
    """The model as ``onnxsim`` writes it: constants folded, operators merged. Its outputs must be the module's.

    What torch writes is optimized already, so that convolutional networks gain nothing; sequence models may.

    Args:
        max_metric_drop: By how much a metric may get worse: absolute, and for losses as a share.
        metric: The metric that decides; default: all that are logged in validation but losses, else these.
        name: Its file is ``model.<name>.onnx``.

    Example:
        >>> Simplified().name
        'simplified'
    """

    max_metric_drop: float = 0.01
    metric: str | None = None
    name: str = "simplified"
    max_difference: float | None = dataclasses.field(default=None, init=False)
    needs_validation: bool = dataclasses.field(default=False, init=False)  # parity alone is proof enough

    def __post_init__(self) -> None:
        """Check the options."""
        base.check_options(self)

    def make(self, making: Making, destination: Path) -> list[str]:
        """Simplify."""
        base.need("onnxsim")
        removed: int = making.call(f"{__name__}:convert", str(making.model_path), str(destination))
        return [] if removed else ["it has as many operators as model.onnx"]


def convert(model_path: str, destination: str) -> int:
    """Write the simplified model; returns how many operators it has less."""
    import onnxsim

    model = onnx.load(model_path)
    before = sum(1 for _ in walk.nodes(model.graph))
    # Newer versions try to prove the result by z3 where that is installed; parity does it for all.
    options = {"certify": False} if "certify" in inspect.signature(onnxsim.simplify).parameters else {}
    with files.scratch():
        made, _ = onnxsim.simplify(model, **options)
    files.save(made, Path(model_path), Path(destination))
    return before - sum(1 for _ in walk.nodes(made.graph))
