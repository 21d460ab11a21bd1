"""ONNX Runtime, on the CPU or with another of its execution providers."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import RuntimeUnavailable
from lightning_onnx.runtimes.base import Arrays, Description, require
from lightning_onnx.runtimes.packages import clash

CPU = "CPUExecutionProvider"

_PACKAGES = {
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu",
    "OpenVINOExecutionProvider": "onnxruntime-openvino",
    "DmlExecutionProvider": "onnxruntime-directml",
    "QNNExecutionProvider": "onnxruntime-qnn",
    "CoreMLExecutionProvider": "onnxruntime (on macOS)",
}
"""The package that contains each provider; it replaces the package onnxruntime."""

_CUDA = ("CUDAExecutionProvider", "TensorrtExecutionProvider", "NvTensorRTRTXExecutionProvider")

_FLOAT32: dict[str, dict[str, str]] = {
    "CUDAExecutionProvider": {"use_tf32": "0"},
    "OpenVINOExecutionProvider": {"precision": "FP32"},
    "CoreMLExecutionProvider": {"AllowLowPrecisionAccumulationOnGPU": "0"},
}
"""Options that make a provider compute in float32; NVIDIA's own variable turns off TensorRT's TF32."""


UNFUSED = ("session.disable_quant_qdq", "1")
"""The session option, and its value, that computes quantized parts in float: QuantizeLinear and its like stay nodes."""


class ONNXRuntime:
    """The ``onnxruntime`` package.

    Args:
        threads: Number of threads; 0 means one per core.
        precision: ``"float32"``, or ``"deploy"`` for the provider's own default.
        provider: The execution provider.
        spins: Whether threads without work wait by computing, as is onnxruntime's default: that gives the shortest
            latency, and takes processor time from other programs, such as the module that runs meanwhile.
        fuses_quantized: Whether operators between DequantizeLinear and QuantizeLinear are computed by integer kernels,
            as is onnxruntime's default.
    """

    name = "onnxruntime"

    def __init__(
        self,
        threads: int = 0,
        precision: str = "float32",
        provider: str = CPU,
        *,
        spins: bool = True,
        fuses_quantized: bool = True,
    ) -> None:
        self.threads = threads
        self.precision = precision
        self.provider = provider
        self.spins = spins
        self.fuses_quantized = fuses_quantized

    def version(self) -> str:
        """Return the version of the installed package."""
        return str(require("onnxruntime", "onnxruntime").__version__)

    def load(self, model_path: Path) -> ORTSession:
        """Load an ONNX file.

        Raises:
            RuntimeUnavailable: If the provider is not installed or finds no device.
        """
        package = require("onnxruntime", "onnxruntime")
        if self.provider not in package.get_available_providers():
            raise RuntimeUnavailable(_missing(self.provider, package.get_available_providers()))
        if self.precision == "float32":
            os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # read by NVIDIA's libraries when they are loaded
        entries = {} if self.spins else {"session.intra_op.allow_spinning": "0"}
        entries |= dict([] if self.fuses_quantized else [UNFUSED])
        return ORTSession(model_path, self.threads, self.provider, self.precision, entries)


class ORTSession:
    """An ``InferenceSession`` whose inputs and outputs are arrays by name."""

    def __init__(
        self, model_path: Path, threads: int, provider: str, precision: str, entries: Mapping[str, str]
    ) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only: comparing outputs makes warnings redundant
        options.intra_op_num_threads = threads
        for entry in entries.items():
            options.add_session_config_entry(*entry)
        own = _FLOAT32.get(provider, {}) if precision == "float32" else {}
        self._session = onnxruntime.InferenceSession(str(model_path), sess_options=options, providers=[(provider, own)])
        self._session.disable_fallback()
        taken = self._session.get_providers()[0]
        if taken != provider:  # the provider was listed, but silently replaced by the CPU's
            raise RuntimeUnavailable(_no_device(provider, taken))
        self._provider = provider
        self._precision = precision if provider != CPU else "float32"
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model, and return outputs by name, in the graph's order."""
        return dict(zip(self._outputs, self._session.run(None, dict(inputs)), strict=True))

    def describe(self) -> Description:
        """Return the provider and the device."""
        device = "CUDA" if self._provider in _CUDA else self._provider.removesuffix("ExecutionProvider")
        return Description(device, self._provider, self._precision)


def _missing(provider: str, available: list[str]) -> str:
    """Return a message on how to get a provider that the installed package does not have."""
    if provider in _PACKAGES and (clashing := clash()):
        return f"the installed onnxruntime has no {provider}: {clashing}"
    if provider in _PACKAGES:
        return f"the installed onnxruntime has no {provider}. Install one with it: pip install {_PACKAGES[provider]}"
    return f"the installed onnxruntime has no {provider}; it has {', '.join(available)}"


def _no_device(provider: str, taken: str) -> str:
    device = "CUDA device" if provider in _CUDA else f"device for {provider}"
    return f"no {device}: onnxruntime took {taken} instead"
