"""The exceptions of this package, one small tree under ``ONNXExportError``."""


class ONNXExportError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigurationError(ONNXExportError, ValueError):
    """An option has an invalid value, or one that does not fit the module."""


class SampleError(ONNXExportError):
    """No call of the exported method is known, so there is nothing to trace with."""


class EngineError(ONNXExportError):
    """No engine could translate the module to ONNX as asked."""


class CaptureNotApplicable(Exception):
    """A capture is for other modules than this one. It never leaves the engines, so it is no ``ONNXExportError``."""


class ParityError(ONNXExportError):
    """The ONNX file was written, and its outputs are not those of the module."""


class ArtifactError(ONNXExportError):
    """An artifact's directory is incomplete, altered or cannot be written."""


class WeightsError(ONNXExportError):
    """The weights to export cannot be read or do not fit the module."""


class RuntimeUnavailable(ONNXExportError):
    """A runtime cannot be used on this machine: its package or its device is missing."""


class DataSetError(ONNXExportError):
    """Test data cannot be read, or holds something other than tensors."""


class WorkerError(ONNXExportError):
    """A worker process raised an error, died, or gave no answer in time."""


class InputError(ONNXExportError):
    """Inputs do not fit the file."""


def chain(error: BaseException) -> list[BaseException]:
    """Return ``error`` and everything that it was raised from, outermost first."""
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return found


def first_line(error: BaseException, limit: int = 300) -> str:
    """Return the error's class and the first line of its message that says something, cut to ``limit`` characters."""
    for line in str(error).splitlines():
        if line.strip():
            return f"{type(error).__name__}: {line.strip()}"[:limit]
    return type(error).__name__
