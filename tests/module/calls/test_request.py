"""The request to the engines, derived from the observed calls."""

from __future__ import annotations

import pytest
import torch

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.calls.request import Request, derive
from tests.module.calls.observing import Applies, observed, runner_of


def requested(**options: object) -> Request:
    module = Applies(lambda x, y: {"sum": x + y, "parts": [x, y]})
    calls = [(torch.randn(8, n), torch.randn(8, n)) for n in (5, 7)]
    observation = observed(module, *calls, batch_sizes=(8, 8))
    return derive(observation, runner_of(module, observation), **options)  # type: ignore[arg-type]


def test_a_batch_of_two_is_traced_and_outputs_are_named_by_their_paths() -> None:
    request = requested()
    assert [tuple(t.shape) for t in request.tensors] == [(2, 5), (2, 5)]
    assert request.dims == ("batch", "tensors_0_dim_1")
    assert request.output_names == ("sum", "parts_0", "parts_1")
    assert request.output_paths == (("sum",), ("parts", "0"), ("parts", "1"))
    assert request.sizes(request.sample.tensors) == {"batch": 8, "tensors_0_dim_1": 5}


def test_names_and_axes_that_are_given() -> None:
    request = requested(input_names=["a", "b"], output_names=["c", "d", "e"], dynamic_axes={"a": {0: "rows"}})
    assert (request.input_names, request.output_names) == (("a", "b"), ("c", "d", "e"))
    assert request.axes == ({0: "rows"}, {})
    assert requested(dynamic_axes=None).axes == ({}, {})
    with pytest.raises(ConfigurationError, match="output_names has 1 names"):
        requested(output_names=["c"])


def test_static_dims_get_the_observed_size() -> None:
    request = requested().static(["batch"])
    assert request.dims == ("tensors_0_dim_1",)
    assert [tuple(t.shape) for t in request.tensors] == [(8, 5), (8, 5)]
    assert request.fits_shapes([(8, 9), (8, 9)])
    assert not request.fits_shapes([(7, 5), (7, 5)])


def test_a_size_of_one_is_traced_at_two() -> None:
    module = Applies(lambda x: x * 2)
    observation = observed(module, *[(torch.randn(4, n),) for n in (1, 3)], batch_sizes=(4, 4))
    (tensor,) = derive(observation, runner_of(module, observation)).tensors
    assert tensor.shape == (2, 2)
