"""torch itself, for programs saved by ``torch.export.save``; its process is the only one that imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.onnxfile import program_file
from lightning_onnx.runtimes.base import Arrays, Description, require

if TYPE_CHECKING:
    from torch import nn


class TorchProgram:
    """The ``torch`` package, which runs ``.pt2`` files on the CPU.

    Args:
        threads: Number of threads; 0 means torch's own default.
        precision: Any: a program computes in the dtypes that it was captured with.
    """

    name = "torch"

    def __init__(self, threads: int = 0, precision: str = "float32") -> None:
        self.threads = threads
        self.precision = precision

    def version(self) -> str:
        """Return the version of the installed package."""
        return str(require("torch", "torch").__version__)

    def load(self, model_path: Path) -> TorchSession:
        """Load a ``.pt2`` file.

        Raises:
            RuntimeUnavailable: If torch is not installed.
            InputError: If the file does not name its outputs.
        """
        torch = require("torch", "torch")
        if self.threads:
            torch.set_num_threads(self.threads)
        specs = program_file.read_specs(model_path)
        names = ([spec.name for spec in values] for values in (specs.inputs, specs.outputs))
        return TorchSession(torch.export.load(model_path).module(), *names)


class TorchSession:
    """A loaded program whose inputs and outputs are arrays by name.

    Args:
        module: Takes the inputs in the file's order, and returns a tuple.
        inputs: Names of the inputs, in the file's order.
        outputs: Names of the outputs.
    """

    def __init__(self, module: nn.Module, inputs: list[str], outputs: list[str]) -> None:
        self._module = module
        self._inputs = inputs
        self._outputs = outputs

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the program, and return outputs by name, in the graph's order."""
        import torch

        from lightning_onnx.module.arrays import to_numpy, to_tensor

        with torch.no_grad():
            found = self._module(*(to_tensor(inputs[name]) for name in self._inputs))
        return {name: to_numpy(tensor).copy() for name, tensor in zip(self._outputs, found, strict=True)}

    def describe(self) -> Description:
        """Return the device and the program."""
        return Description("CPU", "torch.export")
