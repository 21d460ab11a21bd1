"""The minimum, usual and maximum size of each dynamic dim: from the observed calls, within what the graph allows."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from lightning_onnx.manifest.shape_ranges import DimRange
from lightning_onnx.module.calls.observation import Observation, Origin
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import Signature, SizeRange


@dataclasses.dataclass(frozen=True)
class ObservedSizes:
    """The sizes of the dynamic dims of the inputs.

    Attributes:
        dims: The sizes of each dim.
        origin: Who chose them; None before they are known.
    """

    dims: Mapping[str, DimRange] = dataclasses.field(default_factory=dict)
    origin: Origin | None = None


def observed_sizes(request: Request, signature: Signature, observations: Sequence[Observation]) -> ObservedSizes:
    """Return the sizes of each dynamic dim of the inputs.

    Args:
        request: What the graph takes.
        signature: The graph's signature, with the limits of its sizes.
        observations: Ways in which the method is called; the first with all inputs of the graph counts.
    """
    wanted = request.sample.paths
    fitting = next((each for each in observations if set(wanted) <= set(each.samples[0].paths)), None)
    if fitting is None:
        sample = request.sizes(request.sample.tensors)
        counted = {dim: Counter([sample[dim]]) for dim in request.dims}
    else:
        counted = _counted(request, fitting)
    dims = {
        dim: _range(counted[dim], signature.ranges.get(dim, SizeRange()), is_batch=dim == signature.batch)
        for dim in request.dims
    }
    return ObservedSizes(dims, "sample" if fitting is None else fitting.origin)


def _counted(request: Request, observation: Observation) -> dict[str, Counter[int]]:
    """Return how often each size of each dim was observed."""
    paths = observation.samples[0].paths
    found: dict[str, Counter[int]] = {dim: Counter() for dim in request.dims}
    for shapes, count in observation.counted():
        for path, axes in zip(request.sample.paths, request.axes, strict=True):
            for axis, dim in axes.items():
                found[dim][shapes[paths.index(path)][axis]] += count
    return found


def _range(sizes: Counter[int], correct: SizeRange, *, is_batch: bool) -> DimRange:
    """Return the ends and the median of the sizes, each moved to the nearest size at which the graph is correct."""
    low = _lowest(correct) if is_batch else _nearest(min(sizes), correct)
    return DimRange(low, _nearest(_median(sizes), correct), _nearest(max(sizes), correct))


def _median(sizes: Counter[int]) -> int:
    """Return the size that the middle call has, the larger of two."""
    before = 0
    for size in sorted(sizes):
        before += sizes[size]
        if 2 * before > sizes.total():
            return size
    raise AssertionError


def _lowest(correct: SizeRange) -> int:
    return -(-correct.min // correct.step) * correct.step


def _nearest(size: int, correct: SizeRange) -> int:
    """Return the largest correct size that is not above ``size``; the lowest one if there is none."""
    most = size if correct.max is None else min(size, correct.max)
    return max(most - most % correct.step, _lowest(correct))
