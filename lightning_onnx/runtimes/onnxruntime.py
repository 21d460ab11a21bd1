"""ONNX Runtime on the CPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.runtimes.base import Arrays


class ONNXRuntime:
    """The ``onnxruntime`` package with its CPU provider.

    Args:
        threads: Number of threads; 0 takes as many as there are cores.
    """

    name = "onnxruntime"

    def __init__(self, threads: int = 0) -> None:
        self.threads = threads

    def version(self) -> str:
        """Return the version of the installed package."""
        import onnxruntime

        return str(onnxruntime.__version__)

    def load(self, model_path: Path) -> ORTSession:
        """Load an ONNX file."""
        return ORTSession(model_path, self.threads)


class ORTSession:
    """An ``InferenceSession`` that takes and gives arrays by name."""

    def __init__(self, model_path: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # what it warns of is found by comparing
        options.intra_op_num_threads = threads
        self._session = onnxruntime.InferenceSession(
            str(model_path), sess_options=options, providers=["CPUExecutionProvider"]
        )
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model; returns its outputs by name, in the graph's order."""
        return dict(zip(self._outputs, self._session.run(None, dict(inputs)), strict=True))
