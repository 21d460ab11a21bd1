"""What a runtime is, and the table of those that there are."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import ConfigurationError, RuntimeUnavailable

if TYPE_CHECKING:
    pass

Arrays = dict[str, NDArray[np.generic]]

DEFAULT = "onnxruntime"
"""The runtime in which every artifact is checked; it shares one worker process, the others have one each."""


@dataclasses.dataclass(frozen=True)
class Description:
    """How a loaded file is run, as the runtime itself says it.

    Attributes:
        device: What computes: ``"CPU"``, ``"GPU.0"``.
        provider: The part of the runtime that does it: an execution provider, a plugin.
        precision: In which floats are computed.
        batch: What a batch costs: ``"yes"`` (one call takes any batch that the file takes), ``"loop"`` (one call a
            sample).
    """

    device: str
    provider: str
    precision: str = "float32"
    batch: str = "yes"


class Session(Protocol):
    """A loaded file."""

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model; returns its outputs by name, in the graph's order, as arrays that nothing else writes to."""


class Runtime(Protocol):
    """A program that runs ONNX.

    A class takes ``threads`` (0: as many as there are cores) and ``precision`` (``"float32"``, or ``"deploy"`` for
    what the program does by itself), and raises ``RuntimeUnavailable`` where its package
    or its device is missing. Sessions may have ``describe() -> Description``.
    """

    name: str

    def version(self) -> str:
        """Return the version of the installed package."""

    def load(self, model_path: Path) -> Session:
        """Load an ONNX file, in float32 whatever the runtime's own default is."""


RUNTIMES: dict[str, str] = {
    "onnxruntime": "lightning_onnx.runtimes.onnxruntime:ONNXRuntime",
    "openvino": "lightning_onnx.runtimes.openvino:OpenVINO",
    "ncnn": "lightning_onnx.runtimes.ncnn:NCNN",
    "reference": "lightning_onnx.runtimes.reference:Reference",
}
"""Runtimes by name, as ``module:attribute``, so that none is imported before it is used."""


def check_name(name: Any) -> None:
    """Raise where there is no runtime of that name.

    Raises:
        ConfigurationError: If there is none.
    """
    base, colon, provider = name.partition(":") if isinstance(name, str) else ("", "", "")
    if base not in RUNTIMES or (colon and (base != "onnxruntime" or not provider)):
        raise ConfigurationError(
            f"{name!r} is no runtime. Choose from {', '.join(RUNTIMES)}, or name an execution provider of onnxruntime: "
            "'onnxruntime:CUDAExecutionProvider'."
        )


def require(module: str, pip: str) -> Any:
    """Import the package of a runtime.

    Args:
        module: Its module.
        pip: What ``pip install`` takes.

    Raises:
        RuntimeUnavailable: If it is not installed, or cannot be imported.
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
    return RuntimeUnavailable(f"{module} cannot be imported ({error}). Install it anew: pip install {pip}")
