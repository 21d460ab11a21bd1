"""Calls without the inputs that are not to be in the graph, such as labels, and what the module makes of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_onnx.module.calls.nested import TensorPath
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.outputs import Outputs

EXCLUDED_BY_DEFAULT = ("labels",)
"""Excluded where nobody asked for it."""

_SAME = 1e-3
"""The share of an output's scale below which a difference is rounding."""


def without_excluded(observation: Observation, excluded: Sequence[str]) -> Observation | None:
    """Return the observation without the excluded inputs; None if it has none of them, or cannot do without them.

    All that an excluded argument or entry holds is left out, such as the boxes of each image in a list of labels.
    """
    paths = observation.samples[0].paths
    kept = [i for i, path in enumerate(paths) if _is_within(path, excluded) is None]
    if len(kept) == len(paths) or not kept:
        return None
    samples = tuple(s.without(lambda path: _is_within(path, excluded) is not None) for s in observation.samples)
    if any(len(s.tensors) != len(kept) for s in samples):
        return None  # required, or part of something that has no keys
    shapes = tuple((tuple(shapes[i] for i in kept), size) for shapes, size in observation.shapes)
    note = f"left out of the graph, as exclude_inputs says: {', '.join(names_of(observation, excluded))}"
    return dataclasses.replace(observation, samples=samples, shapes=shapes, notes=(*observation.notes, note))


def names_of(observation: Observation, excluded: Sequence[str]) -> list[str]:
    """Return the names of the excluded arguments and entries that hold tensors."""
    paths = observation.samples[0].paths
    return list(dict.fromkeys(".".join(found) for path in paths if (found := _is_within(path, excluded))))


def are_sequences(observation: Observation, excluded: Sequence[str]) -> bool:
    """Tell whether an excluded tensor has more than one value for each row, as what a decoder reads.

    One label for each row is the right answer, by which a head with a margin changes its scores only in training.
    """
    sample = observation.samples[0]
    pairs = zip(sample.paths, sample.tensors, strict=True)
    return any(tensor.dim() > 1 for path, tensor in pairs if _is_within(path, excluded) is not None)


def _is_within(path: TensorPath, excluded: Sequence[str]) -> TensorPath | None:
    """Return the path of the excluded part that holds a tensor; None if there is none."""
    return next((path[: i + 1] for i, part in enumerate(path) if part in excluded), None)


def changed_without(everything: Outputs, otherwise: Outputs, without: Outputs) -> list[str]:
    """Return the names of the outputs that are others without the excluded inputs, as those of a decoder of labels.

    Numbers of the whole batch (losses) are not compared, nor what only one of the calls returns, nor outputs that only
    the presence or the size of the inputs changes, such as scores that are resized to the labels.

    Args:
        everything: The outputs with all inputs.
        otherwise: Those with other values of the excluded inputs.
        without: The outputs without them.
    """
    own = dict(zip(everything.paths, everything.tensors, strict=True))
    other_values = dict(zip(otherwise.paths, otherwise.tensors, strict=True))
    return [
        ".".join(path) or "output"
        for path, tensor in zip(without.paths, without.tensors, strict=True)
        if path in own
        and path in other_values
        and tensor.dim()
        and own[path].dim() == tensor.dim()
        and not _same(own[path], other_values[path])
        and not any(_same(tensor, other) for other in everything.tensors)  # a loss in a tuple moves the others
    ]


def _same(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if not one.is_floating_point():
        return torch.equal(one, other)
    finite = one[one.isfinite()]
    scale = float(finite.abs().max()) if finite.numel() else 0.0
    return torch.allclose(one, other, rtol=_SAME, atol=_SAME * scale, equal_nan=True)
