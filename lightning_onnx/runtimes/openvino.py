"""OpenVINO, on any device that it finds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import RuntimeUnavailable
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes.base import Arrays, Description, require

if TYPE_CHECKING:
    import openvino

_PRECISIONS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
"""The numpy names of OpenVINO's types."""


class OpenVINO:
    """The ``openvino`` package.

    Args:
        threads: Number of threads; 0 leaves the choice to OpenVINO.
        precision: ``"float32"``, or ``"deploy"`` for OpenVINO's own default: bfloat16 on CPUs that support it.
        device: One of ``openvino.Core().available_devices``.
    """

    name = "openvino"

    def __init__(self, threads: int = 0, precision: str = "float32", device: str = "CPU") -> None:
        self.threads = threads
        self.precision = precision
        self.device = device

    def version(self) -> str:
        """Return the version of the installed package."""
        return str(require("openvino", "openvino").__version__).split("-")[0]

    def load(self, model_path: Path) -> OpenVINOSession:
        """Load an ONNX file.

        Raises:
            RuntimeUnavailable: If the device is missing.
        """
        core = require("openvino", "openvino").Core()
        if self.device not in core.available_devices:
            raise RuntimeUnavailable(f"no {self.device} device; OpenVINO finds {', '.join(core.available_devices)}")
        config: dict[str, str | int] = {"PERFORMANCE_HINT": "LATENCY"}
        if self.precision == "float32":
            config["INFERENCE_PRECISION_HINT"] = "f32"
        if self.threads:
            config["INFERENCE_NUM_THREADS"] = self.threads
        names = [spec.name for spec in ModelSpecs.read(model_path).outputs]
        return OpenVINOSession(core.compile_model(str(model_path), self.device, config), names)


class OpenVINOSession:
    """A compiled model whose inputs and outputs are arrays by name."""

    def __init__(self, compiled: openvino.CompiledModel, outputs: list[str]) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._outputs = outputs  # the file's names; OpenVINO may give an output several names, or another value's

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model, and return outputs by name, in the graph's order."""
        # The next call would overwrite shared arrays.
        found = self._request.infer(dict(inputs), share_inputs=False, share_outputs=False)
        return {name: np.array(found[i]) for i, name in enumerate(self._outputs)}

    def describe(self) -> Description:
        """Return the precision and the devices that OpenVINO chose."""
        hint = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        devices = self._compiled.get_property("EXECUTION_DEVICES")
        return Description(", ".join(devices), "OpenVINO", _PRECISIONS.get(hint, hint))
