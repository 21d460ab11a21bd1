"""ONNX's own evaluator, the specification in Python: only for small inputs, because it is 16 to 112 times slower."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.runtimes.base import Arrays, Description


class Reference:
    """``onnx.reference.ReferenceEvaluator``.

    Args:
        threads: Ignored.
        precision: Ignored; it computes in the file's own types.
    """

    name = "reference"

    def __init__(self, threads: int = 0, precision: str = "float32") -> None:
        self.threads = threads
        self.precision = precision

    def version(self) -> str:
        """Return the version of the onnx package."""
        import onnx

        return str(onnx.__version__)

    def load(self, model_path: Path) -> ReferenceSession:
        """Load an ONNX file."""
        return ReferenceSession(model_path)


class ReferenceSession:
    """A ``ReferenceEvaluator`` whose inputs and outputs are arrays by name."""

    def __init__(self, model_path: Path) -> None:
        from onnx.reference import ReferenceEvaluator

        self._evaluator = ReferenceEvaluator(str(model_path))

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model, and return outputs by name, in the graph's order."""
        found = self._evaluator.run(None, dict(inputs))
        # Operators may return numpy scalars or a view of an input; sequences and optionals are not converted.
        values = [np.array(v) if isinstance(v, (np.ndarray, np.generic)) else v for v in found]
        return dict(zip(self._evaluator.output_names, values, strict=True))

    def describe(self) -> Description:
        """Return the device and the provider, which are always the same."""
        return Description("CPU", "ReferenceEvaluator")
