"""ncnn, a runtime for phones and small boards; pnnx converts ONNX files for it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import NCNNError
from lightning_onnx.onnxfile.specs import ModelSpecs, ValueSpec
from lightning_onnx.runtimes.base import Arrays, Description, require
from lightning_onnx.runtimes.pnnx import Converted, convert

if TYPE_CHECKING:
    import ncnn

_HALF = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage")
"""Options of a net that allow 16-bit arithmetic."""

_TAKES = ("float32", "int32", "int64")
"""Dtypes that ncnn accepts; any other crashes the process or gives wrong numbers."""


class NCNN:
    """The packages ``ncnn`` and ``pnnx``, on the CPU.

    Args:
        threads: Number of threads; 0 means one per core.
        precision: ``"float32"``, or ``"deploy"`` for weights and arithmetic in float16 if the CPU supports it.
    """

    name = "ncnn"

    def __init__(self, threads: int = 0, precision: str = "float32") -> None:
        self.threads = threads
        self.precision = precision

    def version(self) -> str:
        """Return the version of the installed package."""
        require("pnnx", "pnnx")
        return str(require("ncnn", "ncnn").__version__)

    def load(self, model_path: Path) -> NCNNSession:
        """Convert an ONNX file and load the result.

        Raises:
            NCNNError: If an input or output has a dtype that ncnn does not accept, or ncnn cannot load the result.
            ConversionError: If pnnx cannot convert the file.
        """
        require("ncnn", "ncnn")
        specs = ModelSpecs.read(model_path)
        wrong = [f"{s.name!r} is {s.dtype}" for s in (*specs.inputs, *specs.outputs) if s.dtype not in _TAKES]
        if wrong:
            raise NCNNError(f"ncnn accepts only {', '.join(_TAKES)}, but {', '.join(wrong)}. Use another runtime.")
        return NCNNSession(model_path, specs, self.threads, self.precision)


class NCNNSession:
    """A net whose inputs and outputs have the names of the ONNX file; ncnn's own names are ``in0``, ``out0``."""

    def __init__(self, model_path: Path, specs: ModelSpecs, threads: int, precision: str) -> None:
        self._specs = specs
        self._precision = precision
        with tempfile.TemporaryDirectory() as directory:
            converted = convert(model_path, Path(directory), half=precision != "float32")
            self._net = _load(converted, threads, precision)
        self._index = converted.batch_index
        self._blobs = _names(self._net, specs)
        self._loops = specs.batch is not None and not converted.takes_batches

    def run(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        """Run the model, sample by sample if it does not take batches."""
        if not self._loops:
            return self._call(inputs)
        axes = {spec.name: _batch_axis(spec, self._specs.batch) for spec in (*self._specs.inputs, *self._specs.outputs)}
        rows = next(value.shape[axes[name]] for name, value in inputs.items() if axes[name] is not None)  # type: ignore[index]
        samples = [
            self._call({n: v if axes[n] is None else v.take([i], axes[n]) for n, v in inputs.items()})
            for i in range(rows)
        ]
        missing = [spec.name for spec in self._specs.outputs if axes[spec.name] is None]
        if missing:
            raise NCNNError(
                f"ncnn runs this model one sample at a time, but {missing} have no batch dim to concatenate along"
            )
        return {
            spec.name: np.concatenate([_as(s[spec.name], spec, axes[spec.name]) for s in samples], axes[spec.name])
            for spec in self._specs.outputs
        }

    def describe(self) -> Description:
        """Return the precision, and whether one call takes a batch."""
        precision = "float32" if self._precision == "float32" else "float16 if the CPU supports it"
        return Description("CPU", "pnnx, ncnn", precision, "loop" if self._loops else "yes")

    def _call(self, inputs: Mapping[str, NDArray[np.generic]]) -> Arrays:
        extractor = self._net.create_extractor()
        for name, value in inputs.items():
            blob = self._blobs[name]
            if extractor.input(blob, self._mat(blob, value)):
                raise NCNNError(f"ncnn rejects input {name!r} with shape {list(value.shape)}")
        outputs: Arrays = {}
        for spec in self._specs.outputs:
            blob = self._blobs[spec.name]
            code, mat = extractor.extract(blob)
            if code or mat.empty():
                raise NCNNError(f"ncnn returns no output {spec.name!r} (code {code}) for {_shapes(inputs)}")
            value = np.array(mat.numpy(batch_index=self._index[blob]))
            outputs[spec.name] = value.astype(spec.dtype) if value.dtype == np.int32 else value
        return outputs

    def _mat(self, blob: str, value: NDArray[np.generic]) -> ncnn.Mat:
        import ncnn

        if value.dtype == np.int64:
            if value.size and not np.array_equal(value, value.astype(np.int32)):
                raise NCNNError(f"ncnn has 32-bit integers, but the input has values up to {value.max()}")
            value = value.astype(np.int32)
        # Mat() keeps no reference to the array, and always reads its elements in C order.
        return ncnn.Mat(np.ascontiguousarray(value), batch_index=self._index[blob]).clone()


def _load(converted: Converted, threads: int, precision: str) -> ncnn.Net:
    import ncnn

    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    if threads:
        net.opt.num_threads = threads
    if precision == "float32":
        for option in _HALF:
            setattr(net.opt, option, False)
    for load, file in ((net.load_param, converted.param), (net.load_model, converted.binary)):
        code = load(str(file))
        if code:
            raise NCNNError(f"ncnn cannot load what pnnx wrote ({file.suffix} file, code {code})")
    return net


def _names(net: ncnn.Net, specs: ModelSpecs) -> dict[str, str]:
    """Return the net's blob for each name of the file; blobs are numbered in the order of the file."""
    blobs: dict[str, str] = {}
    for kind, values, found in (
        ("in", [s for s in specs.inputs if not s.optional], net.input_names()),
        ("out", specs.outputs, net.output_names()),
    ):
        expected = {value.name: f"{kind}{i}" for i, value in enumerate(values)}
        if sorted(found) != sorted(expected.values()):
            raise NCNNError(f"the net has {sorted(found)}, but the file has {list(expected)}: pnnx dropped some")
        blobs |= expected
    return blobs


def _batch_axis(spec: ValueSpec, batch: str | None) -> int | None:
    return spec.shape.index(batch) if spec.shape is not None and batch in spec.shape else None


def _as(value: NDArray[np.generic], spec: ValueSpec, axis: int | None) -> NDArray[np.generic]:
    """Restore the batch dim that ncnn removed from one sample's output."""
    return np.expand_dims(value, axis or 0) if spec.shape is not None and value.ndim == len(spec.shape) - 1 else value


def _shapes(inputs: Mapping[str, NDArray[np.generic]]) -> str:
    return ", ".join(f"{name} {list(value.shape)}" for name, value in inputs.items())
