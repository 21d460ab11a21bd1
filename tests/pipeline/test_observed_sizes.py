"""The sizes for runtimes come from the observed calls, and are sizes at which the graph is right."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence

import pytest
import torch
from torch import nn

from lightning_onnx.manifest.shape_ranges import DimRange
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.observer import ForwardObserver
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.sample import make_sample
from lightning_onnx.module.calls.signature import Signature, SizeRange, TensorSpec
from lightning_onnx.pipeline.observed_sizes import ObservedSizes, observed_sizes


class Net(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def ranges(shapes: Sequence[tuple[int, int]], **limits: SizeRange) -> dict[str, DimRange]:
    observer = ForwardObserver(Net())
    observer.attach()
    for shape in shapes:
        observer.module(torch.zeros(shape))
    observer.detach()
    return dict(sizes_of(observer.observations(), **limits).dims)


def sizes_of(observations: Sequence[Observation], **limits: SizeRange) -> ObservedSizes:
    sample = observations[0].samples[0]
    request = Request(sample, sample.tensors, ("x",), ("y",), ({0: "batch", 1: "length"},), {}, ())
    signature = Signature((TensorSpec("x", "float32", ("batch", "length")),), (), ranges=limits)
    return observed_sizes(request, signature, observations)


def test_usual_is_the_median_of_the_calls() -> None:
    found = ranges([(8, 5), (8, 7), (8, 7), (8, 7), (3, 6)])
    assert found == {"batch": DimRange(1, 8, 8), "length": DimRange(5, 7, 7)}


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (SizeRange(6, 7), DimRange(6, 7, 7)),
        (SizeRange(20, 30), DimRange(20, 20, 20)),
        (SizeRange(step=4), DimRange(4, 8, 12)),
    ],
)
def test_they_stay_within_what_the_graph_allows(limit: SizeRange, expected: DimRange) -> None:
    assert ranges([(2, 5), (2, 9), (2, 14)], length=limit)["length"] == expected


def test_a_batch_that_cannot_be_one() -> None:
    assert ranges([(8, 5)], batch=SizeRange(2))["batch"] == DimRange(2, 8, 8)


def test_sizes_that_were_only_tried_do_not_count() -> None:
    given = Observation.of(make_sample(inspect.signature(Net().forward), (torch.zeros(2, 32),), {}), "the given sample")
    tried = dataclasses.replace(given, shapes=(*given.shapes, (((2, 37),), None)), counts=(1, 0))
    expected = ObservedSizes({"batch": DimRange(1, 2, 2), "length": DimRange(32, 32, 32)}, "sample")
    assert sizes_of([tried]) == expected
