"""The transforms of the validation data set, as they stand there, and what each does in words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from lightning_onnx.contract.data_sets import attribute_of, data_sets
from lightning_onnx.contract.sentences import is_always_done, printed, sentence_of
from lightning_onnx.manifest.contract import Step

_LIBRARIES = ("torchvision.transforms", "albumentations", "kornia.augmentation")
"""What is of one of these, or a pipeline, is a transform under any name."""

_CHOOSES = {"OneOf", "OneOrOther", "RandomApply", "RandomChoice", "RandomOrder", "SelectiveChannelTransform", "SomeOf"}
"""Classes with transforms of which some are done, or in any order: in torchvision, albumentations, MONAI."""


def find_steps(loaders: object) -> tuple[Step, ...]:
    """Return the transforms of the first data set that has any.

    Args:
        loaders: As in ``Trainer.validate``.
    """
    for data_set in data_sets(loaders):
        for transform in _transforms(data_set):
            found = steps_of(transform)
            if found:
                return found
    return ()


def why_unread(loaders: object) -> Exception | None:
    """Return what the first data set whose transform cannot be read raises; None if there is none.

    Args:
        loaders: As in ``Trainer.validate``.
    """
    for data_set in data_sets(loaders):
        try:
            getattr(data_set, "transform", None)
        except Exception as error:  # a property of the user's
            return error
    return None


def _transforms(data_set: object) -> Iterator[object]:
    yield from (attribute_of(data_set, name) for name in ("transform", "transforms"))
    yield attribute_of(attribute_of(attribute_of(data_set, "format"), "format_kwargs"), "transform")  # of `datasets`
    own = getattr(data_set, "__dict__", {})
    others = [value for name, value in own.items() if "target" not in name and _is_transform(value)]
    if len(others) == 1:  # of several, nothing says which one is used
        yield others[0]


def _is_transform(value: object) -> bool:
    kinds = type(value).__mro__
    return any(kind.__name__ == "Compose" or kind.__module__.startswith(_LIBRARIES) for kind in kinds)


def steps_of(transform: object, *, in_graph: bool = False) -> tuple[Step, ...]:
    """Return the steps of a transform: of a pipeline, those of its parts in order.

    Args:
        transform: A transform, a pipeline of them, or None.
        in_graph: Whether the graph does it.
    """
    parts = [part for part in _parts(transform) if not (in_graph and type(part).__name__ == "ToImage")]  # no-op there
    return tuple(Step(printed(part), sentence, in_graph) for part in parts if (sentence := sentence_of(part)))


def _parts(transform: Any) -> Iterator[Any]:
    if transform is None:
        return
    inner = attribute_of(transform, "transforms")
    if inner is None and isinstance(transform, nn.Sequential):
        inner = list(transform)
    if inner is None and type(transform).__name__ == "StandardTransform":  # of torchvision's data sets
        inner = [transform.transform]
    if isinstance(inner, (list, tuple)) and _runs_all(transform):
        for part in inner:
            yield from _parts(part)
    else:
        yield transform


def _runs_all(pipeline: object) -> bool:
    """Tell whether a pipeline does all its transforms, in order."""
    chooses = any(kind.__name__ in _CHOOSES for kind in type(pipeline).__mro__)
    return not chooses and not getattr(pipeline, "random_apply", False) and is_always_done(pipeline)  # kornia's name
