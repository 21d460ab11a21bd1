"""The protocol of runtimes, and the table of all runtimes."""

from __future__ import annotations

import dataclasses
import importlib
from collections import ChainMap
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import ConfigurationError, RuntimeUnavailable, did_you_mean, first_line
from lightning_onnx.onnxfile.specs import PROGRAM_SUFFIX

Arrays = dict[str, NDArray[np.generic]]

DEFAULT = "onnxruntime"
"""The runtime that checks every artifact. Its sessions share one worker process; any other runtime has its own."""


PRECISIONS = ("float32", "deploy")
"""Which float types a runtime may use; ``"deploy"`` is its own default."""


@dataclasses.dataclass(frozen=True)
class Description:
    """How a loaded file is run, as reported by the runtime itself.

    Attributes:
        device: The device that computes: ``"CPU"``, ``"GPU.0"``.
        provider: The part of the runtime that computes, such as an execution provider or a plugin.
        precision: The float type used in computations.
        batch: How a batch is run: ``"yes"`` (in one call) or ``"loop"`` (one call for each sample).
    """

    device: str
    provider: str
    precision: str = "float32"
    batch: str = "yes"


class Session(Protocol):
    """A loaded file."""

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model, and return outputs by name, in the graph's order. Later calls do not change these arrays."""


@runtime_checkable
class RunsAhead(Protocol):
    """A session that can run the model while the caller does something else."""

    def begin(self, inputs: Mapping[str, NDArray[np.generic]]) -> Callable[[], Arrays]:
        """Start a run; the result waits for its outputs, or raises what ``Session.run`` raises."""


class Runtime(Protocol):
    """A program that runs ONNX.

    Its class takes ``threads`` (0: one per core) and ``precision`` (``"float32"``, or ``"deploy"`` for the program's
    own default), and raises ``RuntimeUnavailable`` if its package or its device is missing. Its sessions may have
    ``describe() -> Description``.
    """

    name: str

    def version(self) -> str:
        """Return the version of the installed package."""

    def load(self, model_path: Path) -> Session:
        """Load an ONNX file."""


@runtime_checkable
class LoadsAhead(Protocol):
    """A runtime that can load a file while the caller does something else."""

    def begin_load(self, model_path: Path) -> Callable[[], Session]:
        """Start to load an ONNX file; the result waits for the session, or raises what ``Runtime.load`` raises."""


RUNTIMES: dict[str, str] = {
    "onnxruntime": "lightning_onnx.runtimes.onnxruntime:ONNXRuntime",
    "openvino": "lightning_onnx.runtimes.openvino:OpenVINO",
    "ncnn": "lightning_onnx.runtimes.ncnn:NCNN",
    "reference": "lightning_onnx.runtimes.reference:Reference",
}
"""The class of each runtime by name, as ``"module:class"``; it is imported on first use."""

PROGRAM = "torch"
"""The program that runs ``.pt2`` files. It is not a runtime, because it does not run ONNX."""

PROGRAMS: Mapping[str, str] = ChainMap(RUNTIMES, {PROGRAM: "lightning_onnx.runtimes.torch_program:TorchProgram"})
"""All programs that a worker process can run files with; a runtime that is added later is among them."""


def program_for(path: Path, runtime: str) -> str:
    """Return the name of the program that runs a file: torch for a ``.pt2`` file, else the given runtime.

    Example:
        >>> program_for(Path("model.onnx"), "openvino"), program_for(Path("model.pt2"), "openvino")
        ('openvino', 'torch')
    """
    return PROGRAM if path.suffix == PROGRAM_SUFFIX else runtime


def check_name(name: object) -> None:
    """Check that there is a runtime with this name.

    Raises:
        ConfigurationError: If there is none.
    """
    base, colon, provider = name.partition(":") if isinstance(name, str) else ("", "", "")
    if base not in RUNTIMES or (colon and (base != "onnxruntime" or not provider)):
        raise ConfigurationError(
            f"{name!r} is not a runtime{did_you_mean(name, RUNTIMES)} Choose from {', '.join(RUNTIMES)}, "
            "or name an execution provider of onnxruntime: 'onnxruntime:CUDAExecutionProvider'."
        )


def check_names(option: str, names: object) -> None:
    """Check that an option is a list of names of runtimes.

    Raises:
        ConfigurationError: If it is one string, no list, or has a name of no runtime.
    """
    if isinstance(names, str):
        raise ConfigurationError(f"{option}={names!r} is one string. Give a list: {option}=[{names!r}].")
    if not isinstance(names, (list, tuple)):
        raise ConfigurationError(f"{option}={names!r} is not a list. Give one such as {option}=[{DEFAULT!r}].")
    for name in names:
        check_name(name)


def require(module: str, pip: str) -> ModuleType:
    """Import the package of a runtime.

    Args:
        module: Name of the package's module.
        pip: The argument of ``pip install``.

    Raises:
        RuntimeUnavailable: If the package is not installed or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise RuntimeUnavailable(f"{module} is not installed. Install it: pip install {pip}") from error
        raise _broken(module, pip, error) from error
    except ImportError as error:
        raise _broken(module, pip, error) from error


def _broken(module: str, pip: str, error: ImportError) -> RuntimeUnavailable:
    return RuntimeUnavailable(f"{module} cannot be imported ({first_line(error)}). Reinstall it: pip install {pip}")
