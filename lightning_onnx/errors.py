"""Every exception of this package, in one tree.

::

    ONNXExportError
      ConfigurationError    also a ValueError
        UsageError
      SampleError           before training
        NotReadyError       before training
      EngineError
      StageError            with the exception that was not expected as its cause
      CaptureNotApplicable  inside the engines only
      SearchTooLong         in preflight only
      EndlessLoop           on values that were not observed
      ParityError
      WeightsError          at export
      ArtifactError
      InputError            of files and runtimes
      DataSetError
      RuntimeUnavailable
      VariantNotApplicable  skips the variant
      WorkerError
        WorkerEnded
          WorkerReplaced    inside the client only
      ConversionError
      NCNNError
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from lightning_onnx.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable


class ONNXExportError(Exception):
    """Base of every error that this package raises on purpose; control characters in its message are escaped."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(printable(each) if isinstance(each, str) else each for each in arguments))


class ConfigurationError(ONNXExportError, ValueError):
    """An option has an invalid value, or one that does not fit the module."""


class UsageError(ConfigurationError):
    """An argument of the command line is invalid."""


class SampleError(ONNXExportError):
    """No known call of the exported method runs on tensors, so there is nothing to trace with."""


class NotReadyError(SampleError):
    """The module raises an exception in eval mode, or returns nothing finite; training may have yet to finish it."""


class EngineError(ONNXExportError):
    """No engine can translate the module to ONNX as requested."""


class StageError(ONNXExportError):
    """A stage of the export raised an exception that is not of this package; it is the cause."""


class SearchTooLong(ONNXExportError):
    """Preflight found no graph in its time. Never raised to users: the end of training searches without a limit."""


class CaptureNotApplicable(ONNXExportError):
    """A capture does not apply to this module. Never raised to users: it is the cause of an ``EngineError``."""


class EndlessLoop(ONNXExportError):
    """A loop of the module was ended from outside. Never raised to users: the module does not take these values."""


class ParityError(ONNXExportError):
    """The outputs of the ONNX file differ from the module's."""


class WeightsError(ONNXExportError):
    """The weights to export cannot be read or do not fit the module."""


class ArtifactError(ONNXExportError):
    """An artifact's directory is incomplete, altered or cannot be written."""


class InputError(ONNXExportError):
    """A file is not an ONNX model, or inputs do not fit it."""


class DataSetError(ONNXExportError):
    """Test data cannot be read, or contains something other than tensors."""


class RuntimeUnavailable(ONNXExportError):
    """A runtime cannot be used on this machine: its package or its device is missing."""


class VariantNotApplicable(ONNXExportError):
    """A variant is for other models than this one. Never raised to users: the variant is skipped for this reason."""


class WorkerError(ONNXExportError):
    """A worker process raised an error, died, or gave no answer in time."""


class WorkerEnded(WorkerError):
    """A worker process died, or was stopped because it gave no answer in time."""


class WorkerReplaced(WorkerEnded):
    """Another call ended the worker process that has a session. The client loads the file again."""


class ConversionError(ONNXExportError):
    """A file was not converted to the format of a runtime, or only in part."""


class NCNNError(ONNXExportError):
    """Ncnn rejects a model or an input."""


def chain(error: BaseException) -> list[BaseException]:
    """Return ``error`` and every error that it was raised from, outermost first."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return found


def first_line(error: BaseException, limit: int = 300) -> str:
    """Return the error's class and the first line of its message that is not blank, cut to ``limit`` characters.

    What a worker process says has a class of its own, or is of the process itself, which needs none.

    Args:
        error: The error.
        limit: Number of characters.
    """
    for line in str(error).splitlines():
        if line.strip():
            name = "" if isinstance(error, WorkerError) else f"{type(error).__name__}: "
            told = f"{name}{line.strip()}"
            return told if len(told) <= limit else f"{told[: limit - 1].rstrip()}…"
    return type(error).__name__


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Return the end of a sentence with the most similar of the known names; a full stop if none is.

    Example:
        >>> did_you_mean("chekpoint", ["fit_end", "checkpoint"])
        ": did you mean 'checkpoint'?"
    """
    found = difflib.get_close_matches(value, list(known), 1) if isinstance(value, str) else []
    return f": did you mean {found[0]!r}?" if found else "."
