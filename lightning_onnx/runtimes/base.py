"""What a runtime is, and the table of those that there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]


class Session(Protocol):
    """A loaded file."""

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model; returns its outputs by name, in the graph's order."""


class Runtime(Protocol):
    """A program that runs ONNX."""

    name: str

    def version(self) -> str:
        """Return the version of the installed package."""

    def load(self, model_path: Path) -> Session:
        """Load an ONNX file, in float32 whatever the runtime's own default is."""


RUNTIMES: dict[str, str] = {"onnxruntime": "lightning_onnx.runtimes.onnxruntime:ONNXRuntime"}
"""Runtimes by name, as ``module:attribute``, so that none is imported before it is used."""


def get(name: str, **options: Any) -> Runtime:
    """Return the runtime of that name, in a worker process.

    Args:
        name: One of :data:`RUNTIMES`.
        options: What its class takes, such as ``threads``.
    """
    from lightning_onnx.runtimes.process import HostedRuntime

    return HostedRuntime(name, RUNTIMES[name], **options)
