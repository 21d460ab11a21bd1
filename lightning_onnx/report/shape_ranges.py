"""The shapes that a runtime should expect, in the words of TensorRT, onnxruntime's TensorRT provider and OpenVINO."""

from __future__ import annotations

import dataclasses
import re
import shlex

from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.shape_ranges import DimRange, InputRange
from lightning_onnx.report.tables import Table

_OPTIONS = {"min": "min", "opt": "usual", "max": "max"}
"""TensorRT's name for each end of a range."""

_TITLES = {"training": "Sizes in training", "data": "Sizes of the data", "sample": "Sizes of the sample"}

_TENSORRT_NAME = re.compile(r"[^,:\s'\"]+")
"""In TensorRT's lists of shapes a comma and a colon separate, and nothing escapes them."""


@dataclasses.dataclass(frozen=True)
class ShapeRanges:
    """The sizes of the inputs so far, within what the graph allows, and the options that say so to runtimes.

    Attributes:
        dims: Minimum, usual and maximum size of each dynamic dim.
        inputs: Smallest, usual and largest shape of each input with a dynamic dim.
        origin: Where the sizes come from: ``"training"``, ``"data"`` (batches of a loader without a training) or
            ``"sample"`` (one given call: minimum, usual and maximum are its sizes); None if unknown.

    Example:
        >>> image = InputRange("image", min=(1, 3, 32, 32), usual=(32, 3, 32, 32), max=(64, 3, 32, 32))
        >>> print(ShapeRanges({"batch": DimRange(1, 32, 64)}, (image,)).trtexec())
        --minShapes=image:1x3x32x32 --optShapes=image:32x3x32x32 --maxShapes=image:64x3x32x32
    """

    dims: dict[str, DimRange]
    inputs: tuple[InputRange, ...]
    origin: str | None = None

    @classmethod
    def of(cls, manifest: Manifest) -> ShapeRanges:
        """Return the ranges that a manifest records."""
        return cls(dict(manifest.shape_ranges), manifest.input_ranges, manifest.shape_ranges_from)

    @property
    def fits_tensorrt(self) -> bool:
        """Whether TensorRT's lists of shapes can hold the inputs' names."""
        return all(_TENSORRT_NAME.fullmatch(each.name) for each in self.inputs)

    def trtexec(self) -> str:
        """Return the options of ``trtexec``; empty if all shapes are static, or a name has a comma, colon or quote."""
        return " ".join(shlex.quote(f"--{end}Shapes={shapes}") for end, shapes in self._tensorrt().items())

    def tensorrt_provider_options(self) -> dict[str, str]:
        """Return the options of onnxruntime's ``TensorrtExecutionProvider``; empty as for ``trtexec``."""
        return {f"trt_profile_{end}_shapes": shapes for end, shapes in self._tensorrt().items()}

    def openvino(self) -> dict[str, str]:
        """Return what OpenVINO's ``Model.reshape`` takes: ``{"image": "[1..64,3,32,32]"}``; empty if all is static."""
        return {
            each.name: f"[{','.join(_bounds(low, high) for low, high in zip(each.min, each.max, strict=True))}]"
            for each in self.inputs
        }

    def lines(self) -> list[tuple[str, str]]:
        """Return what to paste, by the program that takes it."""
        if not self.inputs:
            return []
        found = [("OpenVINO", f"model.reshape({self.openvino()!r})")]
        if self.fits_tensorrt:
            found.insert(0, ("onnxruntime with TensorRT", repr(self.tensorrt_provider_options())))
            found.insert(0, ("trtexec", self.trtexec()))
        return found

    def _tensorrt(self) -> dict[str, str]:
        if not self.inputs or not self.fits_tensorrt:
            return {}
        return {end: ",".join(_shape(each, name) for each in self.inputs) for end, name in _OPTIONS.items()}


def size_tables(manifest: Manifest) -> tuple[Table, Table]:
    """Return the tables of the report: the sizes, and the options for runtimes."""
    found = ShapeRanges.of(manifest)
    options = [list(line) for line in found.lines()] if found.dims else []
    batch = manifest.signature.batch
    sizes = _of_sample(found, batch) if found.origin == "sample" else _of_calls(found, batch)
    return sizes, Table("The same as options of runtimes", (), options)


def _of_sample(found: ShapeRanges, batch: str | None) -> Table:
    rows = []
    for dim, own in found.dims.items():
        is_widened = dim == batch and own.min < own.max
        widened = f" (options of runtimes: {own.min} to {own.max})" if is_widened else ""
        rows.append([dim, f"{own.usual}{widened}"])
    return Table(_TITLES["sample"], ("dim", "size"), rows)


def _of_calls(found: ShapeRanges, batch: str | None) -> Table:
    rows = [
        [dim, f"{own.min} (for single rows)" if dim == batch else str(own.min), str(own.usual), str(own.max)]
        for dim, own in found.dims.items()
    ]
    return Table(_TITLES.get(found.origin or "", "Sizes"), ("dim", "minimum", "usual", "maximum"), rows)


def _shape(each: InputRange, end: str) -> str:
    sizes: tuple[int, ...] = getattr(each, end)
    return f"{each.name}:{'x'.join(map(str, sizes))}"


def _bounds(low: int, high: int) -> str:
    return str(low) if low == high else f"{low}..{high}"
