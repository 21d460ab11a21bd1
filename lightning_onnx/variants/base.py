"""What a variant is: another model made from ``model.onnx``, and the table of those that there are.

Nothing here imports torch: the process that makes a variant needs it not.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lightning_onnx.errors import ConfigurationError, RuntimeUnavailable, SampleError
from lightning_onnx.runtimes.base import Arrays

if TYPE_CHECKING:
    from lightning_onnx.checks.base import CheckContext
    from lightning_onnx.runtimes.worker.client import HostedRuntime

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclasses.dataclass(frozen=True)
class Making:
    """What a variant is made from.

    Attributes:
        model_path: The staged ``model.onnx``.
        context: What checks get: the module, inputs, and the user's validation where there is one.
        runtime: onnxruntime in a process of this variant's own, in which it is made, too.
        target: The program that the opset was chosen for.
    """

    model_path: Path
    context: CheckContext
    runtime: HostedRuntime
    target: str | None = None

    def call(self, function: str, *arguments: Any) -> Any:
        """Call ``"module:function"`` in the variant's process: what crashes there is a failed variant."""
        return self.runtime.call_function(function, *arguments)

    def feeds(self, batches: int) -> tuple[list[Arrays], str]:
        """Return inputs to calibrate on, and a sentence that says where they come from.

        Args:
            batches: How many batches of the validation data at most.
        """
        reason = self.context.inputs.no_validation
        if self.context.inputs.validation is not None:
            try:
                found = self.context.inputs.validation.feeds(batches)
            except SampleError as error:
                reason = str(error)
            else:
                return found, f"calibrated on {_count(len(found), 'call')} of the validation loop"
        from lightning_onnx.module.arrays import feeds

        traced = [c for c in self.context.cases if c.label.startswith(("traced", "observed"))]
        found = [feeds(self.context.signature.inputs, case.tensors) for case in traced]
        return found, f"calibrated on {_count(len(found), 'call')} seen when the module was traced: {reason}"


@runtime_checkable
class Variant(Protocol):
    """Another model made from the first; checked by the package before it is kept."""

    @property
    def name(self) -> str:
        """Its file is ``model.<name>.onnx``."""

    @property
    def needs_validation(self) -> bool:
        """Whether it wants the validation loop, and so cannot be made beside training."""

    @property
    def max_difference(self) -> float | None:
        """What outputs may differ by, as a share of their scale; None: no more than ``model.onnx`` may."""

    @property
    def max_metric_drop(self) -> float:
        """By how much a metric may get worse."""

    @property
    def metric(self) -> str | None:
        """The metric that decides; None: all that are logged in validation, losses only where there is nothing else."""

    def make(self, making: Making, destination: Path) -> list[str]:
        """Write the file and return what users should know, in sentences.

        Raises:
            RuntimeUnavailable: If a package is missing; the variant is skipped. Any other exception fails it.
        """


VARIANTS: dict[str, str] = {
    "fp16": "lightning_onnx.variants.float16:Float16",
    "int8": "lightning_onnx.variants.int8:Int8",
    "simplified": "lightning_onnx.variants.simplified:Simplified",
}
"""Variants by name, as ``module:class``, for the command line."""


def named(name: str) -> Variant:
    """Return a variant with its defaults.

    Args:
        name: One of ``VARIANTS``.

    Raises:
        ConfigurationError: If there is none of that name.

    Example:
        >>> named("fp16").name
        'fp16'
    """
    if name not in VARIANTS:
        raise ConfigurationError(f"{name!r} is no variant. Choose from {', '.join(VARIANTS)}.")
    module, _, attribute = VARIANTS[name].partition(":")
    made: Variant = getattr(importlib.import_module(module), attribute)()
    return made


def check_options(variant: Variant) -> None:
    """Check what all variants have.

    Raises:
        ConfigurationError: If a value cannot be meant.
    """
    kind = type(variant).__name__
    if not isinstance(variant.name, str) or not _NAME.fullmatch(variant.name):
        raise ConfigurationError(
            f"{kind}(name={variant.name!r}): the name is part of a file's. Use letters, digits, '_' and '-'."
        )
    for option in ("max_difference", "max_metric_drop"):
        value = getattr(variant, option)
        none = value is None and option == "max_difference"
        if not none and (isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0):
            raise ConfigurationError(f"{kind}({option}={value!r}): give a number not below 0, such as 0.01.")
    if variant.metric is not None and not isinstance(variant.metric, str):
        raise ConfigurationError(f"{kind}(metric={variant.metric!r}): give a name that is logged, such as 'val_acc'.")


def need(module: str) -> None:
    """Raise where the package of a variant is not installed, without importing it.

    Raises:
        RuntimeUnavailable: If it is not.
    """
    if importlib.util.find_spec(module) is None:
        raise RuntimeUnavailable(f"{module} is not installed. Install it: pip install 'lightning-onnx[variants]'")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
