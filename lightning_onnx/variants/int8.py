"""A variant with weights and arithmetic in 8-bit integers, made by onnxruntime's quantizers."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import onnx

from lightning_onnx.checks.metric_names import Mode
from lightning_onnx.errors import ConfigurationError, first_line
from lightning_onnx.onnxfile import walk
from lightning_onnx.option_names import known_options
from lightning_onnx.option_values import check_choice, check_number
from lightning_onnx.runtimes.base import Arrays
from lightning_onnx.variants import base, files
from lightning_onnx.variants.base import Making

_CHOICES = {
    "mode": ("auto", "static", "dynamic"),
    "preset": (None, "x86", "tensorrt"),
    "calibrate": ("minmax", "entropy", "percentile"),
}
_METHODS = {"minmax": "MinMax", "entropy": "Entropy", "percentile": "Percentile"}

_PRESETS: dict[str, tuple[str, dict[str, bool]]] = {
    # x86 CPUs have instructions that multiply unsigned activations with signed weights (for their 7 bits see
    # https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
    "x86": ("QUInt8", {}),
    # TensorRT takes only scales without zero points, and biases in float32.
    "tensorrt": ("QInt8", {"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False}),
}
"""The type of activations and the extra options of ``quantize_static``."""

_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "DynamicQuantizeLSTM")


@known_options
@dataclasses.dataclass(frozen=True)
class Int8:
    """A model of about a quarter of the size that computes in 8 bits, made by ``onnxruntime.quantization``.

    Static quantization (operators between ``QuantizeLinear`` and ``DequantizeLinear``) makes convolutional networks
    faster; it gets the ranges of activations from the validation data. Dynamic quantization computes the ranges in each
    call; it suits transformers and recurrent networks, whose outputs static quantization would change too much.

    Args:
        mode: ``"static"``, ``"dynamic"``, or ``"auto"``: static if most layers with weights are convolutions, or if the
            preset is ``"tensorrt"``, which runs only static models.
        calibration_batches: Number of batches of the validation data used to find ranges.
        per_channel: Whether each channel of a weight has its own scale.
        preset: ``"x86"`` (unsigned activations, signed weights) or ``"tensorrt"`` (both signed and symmetric, biases in
            float32); default: depends on the ``target`` of the export.
        calibrate: How ranges are found: ``"minmax"``, ``"entropy"`` or ``"percentile"``.
        max_difference: How much outputs may differ, as a share of their scale.
        max_metric_drop: How much worse a metric may get: 0.01 is a hundredth of an accuracy, or 1% of an error.
        metric: The metric that decides; default: all logged metrics, but no losses where an accuracy is logged.
        name: Its file is ``model.<name>.onnx``; two of them in one export need different names.
        metric_mode: ``"min"`` if lower values of ``metric`` are better, ``"max"`` if higher ones are; default: as
            ``ModelCheckpoint``, torchmetrics or the metric's name say.
        reduce_range: Whether weights have 7 bits instead of 8. x86 CPUs without VNNI add two products of 8 bits in 16,
            which is too few: a file with 8-bit weights that is right on one machine is wrong on another. Default: True,
            except for TensorRT.

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
    metric_mode: Mode | None = None
    reduce_range: bool | None = None
    needs_validation: bool = dataclasses.field(default=True, init=False)

    def __post_init__(self) -> None:
        """Check the options."""
        base.check_options(self)
        for option, choices in _CHOICES.items():
            check_choice(self, option, choices)
        check_number(self, "calibration_batches", least=1, is_whole=True)
        check_choice(self, "per_channel", (True, False))
        check_choice(self, "reduce_range", (None, True, False))
        if self.mode == "dynamic" and self.preset == "tensorrt":
            raise ConfigurationError(
                "Int8(mode='dynamic', preset='tensorrt') is invalid: TensorRT runs only statically quantized models. "
                "Leave one of the two options out."
            )

    def make(self, making: Making, destination: Path) -> list[str]:
        """Quantize."""
        preset = self._preset(making.target)
        mode = self.mode
        if mode == "auto":
            mode = (
                "static" if preset == "tensorrt" else making.call(f"{__name__}:suitable_mode", str(making.model_path))
            )
        paths = (str(making.model_path), str(destination))
        reduce_range = preset == "x86" if self.reduce_range is None else self.reduce_range
        options = (self.per_channel, reduce_range)
        if mode == "dynamic":
            return [*making.call(f"{__name__}:dynamic", *paths, *options), "quantized dynamically"]
        feeds, origin = making.feeds(self.calibration_batches)
        if not feeds:
            raise ValueError("there are no inputs to calibrate with")
        notes = making.call(f"{__name__}:static", *paths, feeds, *options, preset, self.calibrate)
        return [*notes, f"quantized statically for {preset}", origin]

    def _preset(self, target: str | None) -> str:
        """Return the preset; the default depends on the target."""
        if self.preset is not None:
            return self.preset
        return "tensorrt" if target is not None and target.startswith("tensorrt") and self.mode != "dynamic" else "x86"


def suitable_mode(model_path: str) -> str:
    """Return ``"static"`` if most layers with weights are convolutions, else ``"dynamic"``.

    One convolution is not enough: vision transformers have one, which cuts the image into patches.
    """
    counts = Counter(n.op_type for n in walk.nodes(onnx.load(model_path, load_external_data=False).graph))
    convolutions = counts["Conv"] + counts["ConvTranspose"]
    others = sum(counts[kind] for kind in ("MatMul", "Gemm", "LSTM", "GRU", "RNN", "Attention"))
    return "static" if convolutions and convolutions >= others else "dynamic"


def dynamic(model_path: str, destination: str, per_channel: bool, reduce_range: bool) -> list[str]:
    """Write the dynamically quantized model; returns notes."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with files.scratch() as directory:
        source, large, notes = _prepared(model_path, directory)
        made = directory / "made.onnx"
        quantize_dynamic(
            source,
            made,
            per_channel=per_channel,
            reduce_range=reduce_range,
            weight_type=QuantType.QInt8,
            use_external_data_format=large,
        )
        _save(made, model_path, destination)
    return notes


def static(
    model_path: str,
    destination: str,
    feeds: Sequence[Arrays],
    per_channel: bool,
    reduce_range: bool,
    preset: str,
    calibrate: str,
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
            reduce_range=reduce_range,
            activation_type=QuantType[activations],
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[_METHODS[calibrate]],
            use_external_data_format=large,
            extra_options=dict(options),
        )
        _save(made, model_path, destination)
    return notes


def _prepared(model_path: str, directory: Path) -> tuple[str, bool, list[str]]:
    """Fold constants, so that computed weights, such as those of recurrent layers, can be quantized."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    large = files.is_large(onnx.load(model_path))
    prepared = str(directory / "prepared.onnx")
    problem = ""
    for skip_symbolic_shape in (False, True):  # symbolic inference fails on many transformers
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
        raise ValueError("the model has no operator that onnxruntime's quantizer supports")
    files.save(model, Path(model_path), Path(destination))
