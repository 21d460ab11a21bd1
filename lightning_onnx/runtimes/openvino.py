"""OpenVINO."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import RuntimeUnavailable
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes.base import Arrays, Description, require


class OpenVINO:
    """The ``openvino`` package.

    Args:
        threads: Number of threads; 0 takes what it takes by itself.
        precision: ``"float32"``, or ``"deploy"`` for its own choice: bfloat16 on CPUs that have it.
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
        """Load an ONNX file."""
        core = require("openvino", "openvino").Core()
        if self.device not in core.available_devices:
            raise RuntimeUnavailable(f"no {self.device} device; OpenVINO finds {', '.join(core.available_devices)}")
        config: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY"}
        if self.precision == "float32":
            config["INFERENCE_PRECISION_HINT"] = "f32"
        if self.threads:
            config["INFERENCE_NUM_THREADS"] = self.threads
        names = [spec.name for spec in ModelSpecs.read(model_path).outputs]
        return OpenVINOSession(core.compile_model(str(model_path), self.device, config), names)


class OpenVINOSession:
    """A compiled model that takes and gives arrays by name."""

    def __init__(self, compiled: Any, outputs: list[str]) -> None:
        self._compiled = compiled
        self._request = compiled.create_infer_request()
        self._outputs = outputs  # of the file: OpenVINO's may have several names, or another one's

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model; returns its outputs by name, in the graph's order."""
        # Shared arrays would be written to by the next call.
        found = self._request.infer(dict(inputs), share_inputs=False, share_outputs=False)
        return {name: np.array(found[i]) for i, name in enumerate(self._outputs)}

    def describe(self) -> Description:
        """Return the precision that it took, and the devices."""
        hint = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        devices = self._compiled.get_property("EXECUTION_DEVICES")
        return Description(", ".join(devices), "OpenVINO", _PRECISIONS.get(hint, hint))


_PRECISIONS = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
