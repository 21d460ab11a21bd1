"""Whole numbers of 8 bits: weights, and what is computed from them, by onnxruntime's quantizers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from lightning_onnx.errors import ConfigurationError, first_line
from lightning_onnx.onnxfile import walk
from lightning_onnx.runtimes.base import Arrays
from lightning_onnx.variants import base, files
from lightning_onnx.variants.base import Making

_CHOICES = {
    "mode": ("auto", "static", "dynamic"),
    "preset": (None, "x86", "tensorrt"),
    "calibrate": ("minmax", "entropy", "percentile"),
}
_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}

_PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    # The instructions of x86 CPUs multiply unsigned activations with signed weights.
    "x86": ("QUInt8", {}),
    # TensorRT takes scales without zero points, and biases in float32.
    "tensorrt": ("QInt8", {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}),
}
"""Type of the activations and options of ``quantize_static``."""

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM")


@dataclasses.dataclass(frozen=True)
class Int8:
    """A model of about a quarter of the size that computes in 8 bits, made by ``onnxruntime.quantization``.

    Static quantization (operators between ``QuantizeLinear`` and ``DequantizeLinear``) is what makes convolutional
    networks faster; its ranges are taken from the validation data. Dynamic quantization finds them in each call, and
    serves transformers and recurrent networks, whose outputs static quantization spoils.

    Args:
        mode: ``"static"``, ``"dynamic"``, or ``"auto"``: static where most of the layers with weights are convolutions,
            and with the preset ``"tensorrt"``, which knows no other.
        calibration_batches: How many batches of the validation data give the ranges.
        per_channel: Whether each channel of a weight has a scale of its own.
        preset: ``"x86"`` (unsigned activations, signed weights) or ``"tensorrt"`` (both signed and symmetric, biases
            left in float32); default: by the ``target`` of the export.
        calibrate: How ranges are found: ``"minmax"``, ``"entropy"`` or ``"percentile"``.
        max_difference: What outputs may differ by, as a share of their scale.
        max_metric_drop: By how much a metric may get worse: absolute, and for losses as a share.
        metric: The metric that decides; default: all that are logged in validation but losses, else these.
        name: Its file is ``model.<name>.onnx``; two of them in one export need two names.

    Example:
        >>> [v.name for v in (Int8(), Int8(mode="dynamic", name="int8-dynamic"))]
        ['int8', 'int8-dynamic']
    """

    mode: str = "auto"
    calibration_batches: int = 8
    per_channel: bool = True
    preset: str | None = None
    calibrate: str = "minmax"
    max_metric_drop: float = 0.01
    max_difference: float = 0.1
    metric: str | None = None
    name: str = "int8"
    needs_validation: bool = dataclasses.field(default=True, init=False)

    def __post_init__(self) -> None:
        """Check the options."""
        base.check_options(self)
        for option, choices in _CHOICES.items():
            value = getattr(self, option)
            if value not in choices:
                raise ConfigurationError(
                    f"Int8({option}={value!r}) is not known. Choose one of {', '.join(map(repr, choices))}."
                )
        if type(self.calibration_batches) is not int or self.calibration_batches < 1:
            raise ConfigurationError(
                f"Int8(calibration_batches={self.calibration_batches!r}): give a number of 1 or more."
            )
        if self.mode == "dynamic" and self.preset == "tensorrt":
            raise ConfigurationError(
                "Int8(mode='dynamic', preset='tensorrt'): TensorRT runs statically quantized models alone. "
                "Leave one of them out."
            )

    def make(self, making: Making, destination: Path) -> list[str]:
        """Quantize."""
        preset = self._preset(making.target)
        mode = self.mode
        if mode == "auto":
            mode = "static" if preset == "tensorrt" else making.call(f"{__name__}:suited", str(making.model_path))
        paths = (str(making.model_path), str(destination))
        if mode == "dynamic":
            return [*making.call(f"{__name__}:dynamic", *paths, self.per_channel), "quantized dynamically"]
        feeds, origin = making.feeds(self.calibration_batches)
        if not feeds:
            raise ValueError("there are no inputs to calibrate on")
        told = making.call(f"{__name__}:static", *paths, feeds, self.per_channel, preset, self.calibrate)
        return [*told, f"quantized statically for {preset}", origin]

    def _preset(self, target: str | None) -> str:
        """The preset; that of the target where none was chosen."""
        if self.preset is not None:
            return self.preset
        return "tensorrt" if target is not None and target.startswith("tensorrt") and self.mode != "dynamic" else "x86"


def suited(model_path: str) -> str:
    """Return ``"static"`` where most of the layers with weights are convolutions; else ``"dynamic"``.

    A vision transformer has one convolution, which cuts the image into patches, and suffers from static quantization.
    """
    counts = Counter(n.op_type for n in walk.nodes(onnx.load(model_path, load_external_data=False).graph))
    convolutions = counts["Conv"] + counts["ConvTranspose"]
    others = sum(counts[kind] for kind in ("MatMul", "Gemm", "LSTM", "GRU", "RNN", "Attention"))
    return "static" if convolutions and convolutions >= others else "dynamic"


def dynamic(model_path: str, destination: str, per_channel: bool) -> list[str]:
    """Write the dynamically quantized model; returns notes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with files.scratch() as directory:
        source, large, notes = _prepared(model_path, directory)
        made = directory / "made.onnx"
        quantize_dynamic(
            source, made, per_channel=per_channel, weight_type=QuantType.QInt8, use_external_data_format=large
        )
        _save(made, model_path, destination)
    return notes


def static(
    model_path: str, destination: str, feeds: Sequence[Arrays], per_channel: bool, preset: str, calibrate: str
) -> list[str]:
    """Write the statically quantized model; returns notes."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self._left = iter(feeds)

        def get_next(self) -> Arrays | None:
            return next(self._left, None)

    activations, options = _PRESETS[preset]
    with files.scratch() as directory:
        source, large, notes = _prepared(model_path, directory)
        made = directory / "made.onnx"
        quantize_static(
            source,
            made,
            Reader(),
            per_channel=per_channel,
            activation_type=QuantType[activations],
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[_METHODS[calibrate]],
            use_external_data_format=large,
            extra_options=dict(options),
        )
        _save(made, model_path, destination)
    return notes


def _prepared(model_path: str, directory: Path) -> tuple[str, bool, list[str]]:
    """Fold constants, so that weights which are computed from others can be quantized: those of recurrent layers."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    large = files.is_large(onnx.load(model_path))
    prepared = str(directory / "prepared.onnx")
    problem = ""
    for skip_symbolic_shape in (False, True):  # it gives up on many transformers, and is then of no use
        try:
            quant_pre_process(
                model_path, prepared, skip_symbolic_shape=skip_symbolic_shape, save_as_external_data=large
            )
            return prepared, large, []
        except Exception as error:
            problem = first_line(error)
    return model_path, large, [f"quantized without folding constants ({problem})"]


def _save(made: Path, model_path: str, destination: str) -> None:
    model = onnx.load(str(made))
    if not any(n.op_type in _QUANTIZED or n.op_type.endswith("Integer") for n in walk.nodes(model.graph)):
        raise ValueError("it has no operator that onnxruntime's quantizer knows")
    files.save(model, Path(model_path), Path(destination))
