"""What each transform does, as an instruction to the caller.

No library of transforms is imported: the transforms of torchvision (both versions) and albumentations have these names
and attributes; any other one is described by how it prints itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from lightning_onnx.module.steps import described
from lightning_onnx.onnxfile.privacy import without_paths

_LONGEST = 200
_SCALED = (None, "Image", "PureTensor", "Tensor", "Video")
"""What ``ToDtype`` divides by 255: images and videos, but no masks and boxes."""

_OF_PILLOW = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_OF_OPENCV = {0: "nearest", 1: "bilinear", 2: "bicubic", 3: "area", 4: "lanczos"}
"""Ways to interpolate by their numbers, which torchvision and albumentations take."""


def printed(part: object) -> str:
    """Return a transform as it prints itself, on one line.

    Args:
        part: A transform.
    """
    return without_paths(described(part))[:_LONGEST]


def is_always_done(part: object) -> bool:
    """Tell whether a transform has no probability below 1.

    Args:
        part: A transform.
    """
    probability = getattr(part, "p", 1)
    return not isinstance(probability, (int, float)) or probability >= 1


def sentence_of(part: object) -> str:
    """Return what a transform does; empty for one that does nothing to values.

    Args:
        part: A transform, not a pipeline of them.
    """
    says = _SAYS.get(type(part).__name__)
    if says is not None and is_always_done(part):
        try:
            return says(part)
        except Exception:  # another library's, with the same name
            pass
    return f"apply {printed(part)}"


def _resize(part: Any) -> str:
    if not hasattr(part, "size"):  # albumentations
        return f"resize to {part.height} × {part.width}{_how(part, _OF_OPENCV)}"
    size, longest = part.size, getattr(part, "max_size", None)
    how = _how(part, _OF_PILLOW)
    if size is None:
        return f"resize the longer side to {longest}{how}"
    sizes = [size] if isinstance(size, int) else list(size)
    if len(sizes) > 1:
        return f"resize to {sizes[0]} × {sizes[1]}{how}"
    limited = "" if longest is None else f", but the longer one to at most {longest}"
    return f"resize the shorter side to {sizes[0]}{limited}{how}"


def _how(part: Any, numbers: Mapping[int, str]) -> str:
    """Return the way to interpolate, in parentheses."""
    way = getattr(part.interpolation, "value", part.interpolation)
    name = numbers.get(way) if isinstance(way, int) else way
    antialiased = (
        ["antialiased"] if getattr(part, "antialias", None) is True and name in ("bilinear", "bicubic") else []
    )
    told = [*([name] if isinstance(name, str) else []), *antialiased]
    return f" ({', '.join(told)})" if told else ""


def _side(part: Any, side: str) -> str:
    """Say what albumentations does to one side of an image."""
    sizes = [part.max_size] if isinstance(part.max_size, int) else list(part.max_size)  # several: one at random
    (size,) = sizes
    return f"resize the {side} side to {size}{_how(part, _OF_OPENCV)}"


def _crop(part: Any) -> str:
    size = getattr(part, "size", None)
    if size is None:
        size = (part.height, part.width)
    sizes = [size, size] if isinstance(size, int) else [*size, *size][:2]
    return f"crop the center to {sizes[0]} × {sizes[1]}"


def _normalize(part: Any) -> str:
    if getattr(part, "normalization", "standard") != "standard":  # of albumentations: by the image's own values
        return f"apply {printed(part)}"
    highest = getattr(part, "max_pixel_value", None)  # albumentations divides by it
    divided = "" if highest in (None, 1, 1.0) else f"divide by {highest:g}, "
    return f"{divided}{_normalized(part)}"


def _normalized(part: Any) -> str:
    return f"normalize with mean {_numbers(part.mean)} and standard deviation {_numbers(part.std)}"


def _to_dtype(part: Any) -> str:
    by_kind = part.dtype.items() if isinstance(part.dtype, Mapping) else [(None, part.dtype)]
    scales = getattr(part, "scale", True)
    return ", ".join(_converted(kind, dtype, scales) for kind, dtype in by_kind if dtype is not None)


def _converted(kind: type | str | None, dtype: torch.dtype, scales: bool) -> str:
    name = getattr(kind, "__name__", kind)
    divided = ", divide by 255" if scales and dtype.is_floating_point and name in _SCALED else ""
    return f"convert {f'{name} ' if name else ''}to {str(dtype).removeprefix('torch.')}{divided}"


def _classification(part: Any) -> str:
    """Say what the transforms do that come with torchvision's weights."""
    resized = f"resize the shorter side to {part.resize_size[0]}{_how(part, _OF_PILLOW)}"
    cropped = f"crop the center to {part.crop_size[0]} × {part.crop_size[-1]}"
    return f"{resized}, {cropped}, divide by 255, {_normalized(part)}"


def _segmentation(part: Any) -> str:
    resized = "" if part.resize_size is None else f"resize the shorter side to {part.resize_size[0]}"
    return f"{f'{resized}{_how(part, _OF_PILLOW)}, ' if resized else ''}divide by 255, {_normalized(part)}"


def _numbers(values: Any) -> str:
    found = values.flatten().tolist() if hasattr(values, "flatten") else values
    listed = [found] if isinstance(found, (int, float)) else list(found)
    return f"[{', '.join(f'{float(value):g}' for value in listed)}]"


_SAYS: dict[str, Callable[[Any], str]] = {
    "Resize": _resize,
    "SmallestMaxSize": lambda part: _side(part, "shorter"),
    "LongestMaxSize": lambda part: _side(part, "longer"),
    "CenterCrop": _crop,
    "Normalize": _normalize,
    "ToFloat": lambda part: f"divide by {part.max_value:g}",
    "ToDtype": _to_dtype,
    "ConvertImageDtype": _to_dtype,
    "ImageClassification": _classification,
    "SemanticSegmentation": _segmentation,
    "ObjectDetection": lambda part: "divide by 255",
    "ToTensor": lambda part: "put channels first, divide by 255",
    "ToTensorV2": lambda part: "put channels first",
    "PILToTensor": lambda part: "put channels first",
    "ToImage": lambda part: "put channels first if they are last",
    "Grayscale": lambda part: f"convert to grayscale with {part.num_output_channels} channel(s)",
    "RGB": lambda part: "convert to RGB",
    "Identity": lambda part: "",
    "ToPureTensor": lambda part: "",
}
"""What transforms do, by the name of their class."""
