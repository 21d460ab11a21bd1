"""The minimum, usual and maximum size of each dynamic dim: from the observed calls, within what the graph allows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lightning_onnx.manifest.shape_ranges import DimRange
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import Signature, SizeRange


def dim_ranges(request: Request, signature: Signature, observations: Sequence[Observation]) -> dict[str, DimRange]:
    """Return the sizes of each dynamic dim of the inputs.

    Args:
        request: What the graph takes.
        signature: The graph's signature, with the limits of its sizes.
        observations: Ways in which the method is called; the first with all inputs of the graph counts.
    """
    counted = _counted(request, observations)
    return {
        dim: _range(counted[dim], signature.ranges.get(dim, SizeRange()), is_batch=dim == signature.batch)
        for dim in request.dims
    }


def _counted(request: Request, observations: Sequence[Observation]) -> dict[str, Counter[int]]:
    """Return how often each size of each dim was observed; the traced size once if no observation fits."""
    wanted = request.sample.paths
    found: dict[str, Counter[int]] = {dim: Counter() for dim in request.dims}
    for observation in observations:
        paths = observation.samples[0].paths
        if not set(wanted) <= set(paths):
            continue
        for shapes, count in observation.counted():
            for path, axes in zip(wanted, request.axes, strict=True):
                for axis, dim in axes.items():
                    found[dim][shapes[paths.index(path)][axis]] += count
        break
    observed = request.sizes(request.sample.tensors)
    return {dim: sizes or Counter([observed[dim]]) for dim, sizes in found.items()}


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
