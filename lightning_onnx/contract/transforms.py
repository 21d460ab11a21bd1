"""The transforms of the validation data set, as they stand there, and what each does in words.

No library of transforms is imported: the transforms of torchvision (both versions) and albumentations have these names
and attributes; any other one is described by how it prints itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lightning_onnx.contract.data_sets import data_sets
from lightning_onnx.manifest.contract import Step, Tokenizer
from lightning_onnx.module.steps import described
from lightning_onnx.onnxfile.privacy import without_paths

_LONGEST = 200
_SCALED = (None, "Image", "PureTensor", "Tensor", "Video")
"""What ``ToDtype`` divides by 255: images and videos, but no masks and boxes."""


def find_steps(loaders: object) -> tuple[Step, ...]:
    """Return the transforms of the first data set that has any.

    Args:
        loaders: As in ``Trainer.validate``.
    """
    for data_set in data_sets(loaders):
        for name in ("transform", "transforms"):
            found = steps_of(getattr(data_set, name, None))
            if found:
                return found
    return ()


def find_tokenizer(loaders: object, owners: Sequence[object]) -> Tokenizer | None:
    """Return the tokenizer of a data set, its ``collate_fn``, a data module or a module.

    Args:
        loaders: As in ``Trainer.validate``.
        owners: Other objects that may have one.
    """
    sets = list(data_sets(loaders))
    places = [*sets, *(getattr(place, "collate_fn", None) for place in sets), *owners]
    for place in places:
        found = getattr(place, "tokenizer", None)
        if found is not None and callable(found):
            limit = getattr(found, "model_max_length", None)
            size = getattr(found, "vocab_size", None)
            name = getattr(found, "name_or_path", None)
            return Tokenizer(
                without_paths(name) if isinstance(name, str) and name else None,
                type(found).__name__,
                limit if isinstance(limit, int) and limit < 10**9 else None,  # transformers: a huge one means none
                size if isinstance(size, int) else None,
            )
    return None


def steps_of(transform: object, *, in_graph: bool = False) -> tuple[Step, ...]:
    """Return the steps of a transform: of a pipeline, those of its parts in order.

    Args:
        transform: A transform, a pipeline of them, or None.
        in_graph: Whether the graph does it.
    """
    parts = [part for part in _parts(transform) if not (in_graph and type(part).__name__ == "ToImage")]  # no-op there
    return tuple(Step(_printed(part), sentence, in_graph) for part in parts if (sentence := _said(part)))


def _parts(transform: Any) -> Iterator[Any]:
    if transform is None:
        return
    inner = getattr(transform, "transforms", None)
    if inner is None and isinstance(transform, nn.Sequential):
        inner = list(transform)
    if inner is None and type(transform).__name__ == "StandardTransform":  # of torchvision's data sets
        inner = [transform.transform]
    if isinstance(inner, (list, tuple)):
        for part in inner:
            yield from _parts(part)
    else:
        yield transform


def _printed(part: Any) -> str:
    return without_paths(described(part))[:_LONGEST]


def _said(part: Any) -> str:
    """Return what a transform does; empty for one that does nothing to values."""
    name = type(part).__name__
    if name in _SAYS:
        try:
            return _SAYS[name](part)
        except Exception:  # another library's, with the same name
            pass
    return f"apply {_printed(part)}"


def _resize(part: Any) -> str:
    size = getattr(part, "size", None)
    if size is None:  # albumentations
        size = (part.height, part.width)
    sizes = [size] if isinstance(size, int) else list(size)
    way = getattr(part.interpolation, "value", part.interpolation)
    how = f" ({way})" if isinstance(way, str) else ""
    if len(sizes) == 1:
        return f"resize the shorter side to {sizes[0]}{how}"
    return f"resize to {sizes[0]} × {sizes[1]}{how}"


def _crop(part: Any) -> str:
    size = getattr(part, "size", None)
    if size is None:
        size = (part.height, part.width)
    sizes = [size, size] if isinstance(size, int) else [*size, *size][:2]
    return f"crop the center to {sizes[0]} × {sizes[1]}"


def _normalize(part: Any) -> str:
    highest = getattr(part, "max_pixel_value", None)  # albumentations divides by it
    divided = "" if highest in (None, 1, 1.0) else f"divide by {highest:g}, "
    return f"{divided}normalize with mean {_numbers(part.mean)} and standard deviation {_numbers(part.std)}"


def _to_dtype(part: Any) -> str:
    by_kind = part.dtype.items() if isinstance(part.dtype, Mapping) else [(None, part.dtype)]
    scales = getattr(part, "scale", True)
    return ", ".join(_converted(kind, dtype, scales) for kind, dtype in by_kind if dtype is not None)


def _converted(kind: type | str | None, dtype: torch.dtype, scales: bool) -> str:
    name = getattr(kind, "__name__", kind)
    divided = ", divide by 255" if scales and dtype.is_floating_point and name in _SCALED else ""
    return f"convert {f'{name} ' if name else ''}to {str(dtype).removeprefix('torch.')}{divided}"


def _preset(part: Any) -> str:
    """Say what the transforms do that come with torchvision's weights."""
    normalized = f"normalize with mean {_numbers(part.mean)} and standard deviation {_numbers(part.std)}"
    return (
        f"resize the shorter side to {part.resize_size[0]}, crop the center to {part.crop_size[0]} × "
        f"{part.crop_size[-1]}, divide by 255, {normalized}"
    )


def _numbers(values: Any) -> str:
    found = values.flatten().tolist() if hasattr(values, "flatten") else values
    listed = [found] if isinstance(found, (int, float)) else list(found)
    return f"[{', '.join(f'{float(value):g}' for value in listed)}]"


_SAYS: dict[str, Callable[[Any], str]] = {
    "Resize": _resize,
    "CenterCrop": _crop,
    "Normalize": _normalize,
    "ToDtype": _to_dtype,
    "ConvertImageDtype": _to_dtype,
    "ImageClassification": _preset,
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
