"""The protocol of variants, which are other models made from ``model.onnx``, and the table of all variants.

Nothing here imports torch: the process that makes a variant does not need it.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lightning_onnx.errors import ConfigurationError, RuntimeUnavailable, SampleError, did_you_mean
from lightning_onnx.onnxfile.specs import PROGRAM_SUFFIX
from lightning_onnx.option_values import check_choice, check_number
from lightning_onnx.runtimes import base as runtimes
from lightning_onnx.runtimes.base import DEFAULT, Arrays

if TYPE_CHECKING:
    from lightning_onnx.checks.base import CheckContext
    from lightning_onnx.checks.metric_names import Mode
    from lightning_onnx.runtimes.worker.client import HostedRuntime

MARK = "lightning_onnx.variant"
"""Key of the metadata whose value is the variant's name."""

SaveProgram = Callable[[Path, Mapping[str, str]], None]
"""Writes the captured program to a file, with further texts by name."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclasses.dataclass(frozen=True)
class Making:
    """The inputs for making a variant.

    Attributes:
        model_path: The staged ``model.onnx``.
        context: The context of checks: the module, inputs, and the user's validation loop if there is one.
        runtime: onnxruntime in its own process, in which the variant is made and checked.
        target: The program for which the opset was chosen, or None.
        save_program: Saves the captured program with these weights; None if the graph was not made from one.
    """

    model_path: Path
    context: CheckContext
    runtime: HostedRuntime
    target: str | None = None
    save_program: SaveProgram | None = None

    def call(self, function: str, *arguments: object) -> Any:
        """Call a function, given as ``"module:function"``, in the variant's process: a crash only fails the variant."""
        return self.runtime.call_function(function, *arguments)

    def feeds(self, batches: int) -> tuple[list[Arrays], str]:
        """Return inputs for calibration, and a note on where they come from.

        Args:
            batches: Maximum number of batches of the validation data.
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

        traced = [c for c in self.context.cases if c.kind in ("traced", "observed")]
        found = [feeds(self.context.signature.inputs, case.tensors) for case in traced]
        return found, f"calibrated on {_count(len(found), 'call')} seen when the module was traced: {reason}"


@runtime_checkable
class Variant(Protocol):
    """Another model made from ``model.onnx``; the package checks it before it is kept."""

    @property
    def name(self) -> str:
        """Name of the variant; its file is ``model.<name>.onnx``, see ``file_name``."""

    @property
    def needs_validation(self) -> bool:
        """Whether it uses the validation loop, so that it cannot be made while training runs."""

    @property
    def max_difference(self) -> float | None:
        """How much outputs may differ, as a share of their scale; None: the tolerance for ``model.onnx``."""

    @property
    def max_metric_drop(self) -> float:
        """How much worse a metric may get."""

    @property
    def metric(self) -> str | None:
        """The metric that decides; None: all logged metrics, but no losses where an accuracy is logged.

        A variant may also have ``metric_mode``: ``"min"`` or ``"max"`` says whether lower or higher values are better.
        """

    def make(self, making: Making, destination: Path) -> list[str]:
        """Write the file, and return notes for the user.

        Args:
            making: The inputs for making it.
            destination: The file to write.

        Raises:
            RuntimeUnavailable: If a package is missing, which skips the variant.
            VariantNotApplicable: If it is for other models than this one, which skips it too. Any other exception
                fails it.
        """


@dataclasses.dataclass(frozen=True)
class Form:
    """A kind of file that a variant may be.

    Attributes:
        suffix: The end of its name.
        runtime: Name of the program that runs it.
        problems: Finds what is wrong in a file beside ``model.onnx``: a function, as ``"module:function"``.
    """

    suffix: str
    runtime: str
    problems: str


ONNX = Form(".onnx", DEFAULT, "lightning_onnx.variants.files:problems")
PROGRAM = Form(PROGRAM_SUFFIX, runtimes.PROGRAM, "lightning_onnx.variants.pt2:problems")


def form_of(variant: Variant) -> Form:
    """Return what kind of file a variant is; variants without the attribute ``form`` are ONNX files."""
    return PROGRAM if getattr(variant, "form", "onnx") == "program" else ONNX


def file_name(variant: Variant, stem: str) -> str:
    """Return the name of a variant's file.

    Args:
        variant: The variant.
        stem: That of the model, without its suffix.

    Example:
        >>> file_name(named("int8"), "model"), file_name(named("pt2"), "model")
        ('model.int8.onnx', 'model.pt2')
    """
    suffix = form_of(variant).suffix
    return f"{stem}.{variant.name}{suffix}" if suffix != f".{variant.name}" else f"{stem}{suffix}"


VARIANTS: dict[str, str] = {
    "fp16": "lightning_onnx.variants.float16:Float16",
    "int4": "lightning_onnx.variants.int4:Int4",
    "int8": "lightning_onnx.variants.int8:Int8",
    "pt2": "lightning_onnx.variants.pt2:PT2",
    "simplified": "lightning_onnx.variants.simplified:Simplified",
}
"""The class of each variant by name, as ``"module:class"``, for the command line."""


def named(name: str) -> Variant:
    """Return a variant with its defaults.

    Args:
        name: One of ``VARIANTS``.

    Raises:
        ConfigurationError: If there is no variant with this name.

    Example:
        >>> named("fp16").name
        'fp16'
    """
    if name not in VARIANTS:
        classes = {path.rpartition(":")[2].lower(): known for known, path in VARIANTS.items()}
        meant = classes.get(name.lower()) or (name.lower() if name.lower() in VARIANTS else None)
        nearest = f": did you mean {meant!r}?" if meant else did_you_mean(name, VARIANTS)
        raise ConfigurationError(f"{name!r} is not a variant{nearest} Choose from {', '.join(VARIANTS)}.")
    module, _, attribute = VARIANTS[name].partition(":")
    made: Variant = getattr(importlib.import_module(module), attribute)()
    return made


def by_name(variants: object) -> Any:
    """Replace the names in a list of variants by variants with their defaults; anything else stays as it is.

    Raises:
        ConfigurationError: If there is no variant with one of the names, or if it is one string.

    Example:
        >>> [variant.name for variant in by_name(["fp16", named("int4")])]
        ['fp16', 'int4']
    """
    if isinstance(variants, str):
        raise ConfigurationError(f"variants={variants!r} is one string. Give a list: variants=[{variants!r}].")
    if not isinstance(variants, (list, tuple)):
        return variants
    return [named(each) if isinstance(each, str) else each for each in variants]


def check_options(variant: Variant) -> None:
    """Check the options that are common to all variants.

    Raises:
        ConfigurationError: If a value is invalid.
    """
    kind = type(variant).__name__
    if not isinstance(variant.name, str) or not _NAME.fullmatch(variant.name):
        raise ConfigurationError(
            f"{kind}(name={variant.name!r}) is invalid in a file name. Use letters, digits, '_' and '-'."
        )
    if variant.max_difference is not None:
        check_number(variant, "max_difference")
    check_number(variant, "max_metric_drop")
    if variant.metric is not None and not isinstance(variant.metric, str):
        raise ConfigurationError(
            f"{kind}(metric={variant.metric!r}) is invalid. Give the name of a logged metric, such as 'val_acc'."
        )
    mode = metric_mode(variant)
    if mode is not None:
        check_choice(variant, "metric_mode", ("min", "max"))
        if variant.metric is None:
            raise ConfigurationError(
                f"{kind}(metric_mode={mode!r}) is invalid without a metric. Give one too, such as metric='val_loss'."
            )


def metric_mode(variant: Variant) -> Mode | None:
    """Return whether lower or higher values of a variant's metric are better; None if it does not say so."""
    return getattr(variant, "metric_mode", None)


def need(module: str) -> None:
    """Check that a variant's package is installed, without importing it.

    Raises:
        RuntimeUnavailable: If it is not installed.
    """
    if importlib.util.find_spec(module) is None:
        raise RuntimeUnavailable(f"{module} is not installed. Install it: pip install 'lightning-onnx[variants]'")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
