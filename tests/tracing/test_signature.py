"""The signature of a graph: the engine's declarations compared with the module's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnx_ir as ir
import pytest
import torch

from lightning_onnx.tracing.base import EngineModel, Traced
from lightning_onnx.tracing.signature import Achieved, Outcome, achieved_signature
from tests.tracing.making import made


def achieved(
    declared: Sequence[int | str | None],
    *calls: tuple[int, int],
    symbols: dict[str, str],
    others: Sequence[tuple[int, int]] = (),
) -> Achieved:
    """Compare a declared shape with outputs of some rows, each for a batch of some size."""
    output = ir.Value(name="y", shape=ir.Shape(declared))
    model = ir.Model(ir.Graph([], [output], nodes=[]), ir_version=10)
    _, request = made(torch.nn.Identity(), torch.zeros(calls[0][0], 2))
    outcomes, with_other_values = (
        [Outcome({"batch": batch}, [torch.zeros(rows, 2)]) for batch, rows in some] for some in (calls, others)
    )
    traced = Traced("dynamo", EngineModel(model, {}), symbols=symbols)
    return achieved_signature(traced, request, outcomes, with_other_values)


@pytest.mark.parametrize(
    ("declared", "calls", "shape", "wrong"),
    [
        (["s0", 2], [(2, 2), (5, 5)], ("batch", 2), False),
        (["2*s0", 2], [(2, 4), (5, 10)], ("2*batch", 2), False),
        ([2, 2], [(2, 2), (5, 5)], ("batch", 2), True),  # the engine is wrong about a size that varies
        ([4, 2], [(2, 4), (5, 7)], ("y_dim_0", 2), True),
        (["u0", 2], [(2, 4), (5, 7)], ("y_dim_0", 2), False),  # by values
        (["u0", 2], [(2, 4), (5, 4)], ("y_dim_0", 2), False),
        (["u0", 2], [(2, 2)], ("y_dim_0", 2), False),
        ([None, None], [(2, 3), (5, 3)], ("y_dim_0", "y_dim_1"), False),
    ],
)  # fmt: skip
def test_shape_of_an_output(declared: Any, calls: Any, shape: Any, wrong: bool) -> None:
    found = achieved(declared, *calls, symbols={"s0": "batch"})
    assert found.signature.outputs[0].shape == shape
    assert found.drop_inner_shapes == wrong
    assert found.signature.inputs[0].shape == ("batch", 2)


def test_invented_symbols_of_the_other_engine_are_not_dims() -> None:
    assert achieved(["Addy_dim_0", 2], (2, 3), (5, 3), symbols={}).signature.outputs[0].shape == (3, 2)


@pytest.mark.parametrize(
    ("others", "shape"),
    [([(2, 3)], ("y_dim_0", 2)), ([(2, 4)], (4, 2)), ([(5, 3)], (4, 2))],  # the last one has another batch
)
@pytest.mark.parametrize("declared", [4, "Slicey_dim_0"])
def test_a_size_that_depends_on_values_is_dynamic(declared: Any, others: Any, shape: Any) -> None:
    found = achieved([declared, 2], (2, 4), (3, 4), symbols={}, others=others)
    assert found.signature.outputs[0].shape == shape
    assert found.drop_inner_shapes == (declared == 4 and shape != (4, 2))
