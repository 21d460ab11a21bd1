"""Given names belong to the inputs that the graph has: by key for the entries of a batch, otherwise in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.plan import Plan
from lightning_onnx.pipeline.prepare import prepare
from tests.module.calls.observing import observed

Use = Callable[[dict[str, Tensor]], Tensor]


def planned(use: Use, **options: Any) -> Plan:
    class Net(nn.Module):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return use(batch)

    module = Net()
    batches = [({"x": torch.randn(n, 3), "code": torch.randint(0, 9, (n, 2)), "y": torch.zeros(n)},) for n in (4, 6)]
    return prepare(module, [observed(module, *batches)], ExportConfig(**options))


def uses_two(batch: dict[str, Tensor]) -> Tensor:
    return batch["x"] * 2 + batch["code"].sum(1, keepdim=True)


def touches_three(batch: dict[str, Tensor]) -> Tensor:
    return uses_two(batch) + 0 * batch["y"].float().shape[0]


def uses_three(batch: dict[str, Tensor]) -> Tensor:
    return uses_two(batch) + batch["y"][:, None]


@pytest.mark.slow
@pytest.mark.parametrize("use", [uses_two, touches_three])
@pytest.mark.parametrize(
    ("names", "got"),
    [
        (["features", "codes"], {"features": "x", "codes": "code"}),
        (["code", "x"], {"x": "x", "code": "code"}),
    ],
)
def test_names_fit_the_inputs_that_remain(use: Use, names: list[str], got: dict[str, str]) -> None:
    axes = {name: {0: "rows"} for name in names}
    request = planned(use, input_names=names, dynamic_axes=axes).graph.request
    assert {name: path[-1] for name, path in zip(request.input_names, request.sample.paths, strict=True)} == got
    assert request.axes == ({0: "rows"}, {0: "rows"})


@pytest.mark.slow
def test_a_mapping_names_some_inputs_and_leaves_out_what_is_not_used() -> None:
    request = planned(uses_two, input_names={"code": "tokens"}).graph.request
    assert request.input_names == ("batch_x", "tokens")


@pytest.mark.slow
def test_dynamic_axes_take_the_keys_of_a_batch() -> None:
    request = planned(uses_two, dynamic_axes={"x": {0: "rows"}, "code": {0: "rows"}}).graph.request
    assert request.input_names == ("batch_x", "batch_code")
    assert request.axes == ({0: "rows"}, {0: "rows"})
    with pytest.raises(ConfigurationError, match=r"dynamic_axes names \['codes'\]"):
        planned(uses_two, dynamic_axes={"codes": {0: "rows"}})


@pytest.mark.parametrize(
    ("use", "names", "message"),
    [
        (
            uses_two,
            ["x"],
            r"has 2 inputs \['batch_x', 'batch_code'\] \(left out.*: \['batch_y'\]\)",
        ),
        (uses_three, ["x", "code"], r"has 3 inputs \['batch_x', 'batch_code', 'batch_y'\]\..*exclude_inputs"),
        (uses_two, ["x", "code", "y", "z"], "input_names has 4 names"),
        (uses_three, ["code", "features", "y"], "'batch.x' the name 'code', which is the key of another input"),
    ],
)
def test_names_that_do_not_fit_are_told_with_the_inputs(use: Use, names: list[str], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        planned(use, input_names=names)
