"""Names and metadata of the models that engines write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from tests import outside


@pytest.mark.slow
def test_swapped_keys_of_a_result_swap_the_names(tmp_path: Path) -> None:
    class Swaps(nn.Module):
        def __init__(self, keys: tuple[str, str]) -> None:
            super().__init__()
            self.keys = keys

        def forward(self, x: Any) -> Any:
            return dict(zip(self.keys, (x + 1, x * 2), strict=True))

    x = torch.ones(2, 3)
    for keys in (("a", "b"), ("b", "a")):
        made = lightning_onnx.export(Swaps(keys), x, directory=tmp_path / keys[0])
        session = outside.session(made.model_path)
        got = dict(zip([o.name for o in session.get_outputs()], session.run(None, {"x": x.numpy() * 3}), strict=True))
        np.testing.assert_array_equal(got[keys[0]], x.numpy() * 3 + 1)
        np.testing.assert_array_equal(got[keys[1]], x.numpy() * 6)


class Means(nn.Module):
    """Divides by a size with a Python function, which torch records with its address."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sum(1) / torch.sym_float(x.shape[1])


def test_no_addresses_in_memory(tmp_path: Path) -> None:
    axes = {"x": {0: "batch", 1: "length"}}
    made = lightning_onnx.export(Means(), torch.randn(2, 8), directory=tmp_path / "made", dynamic_axes=axes)
    content = made.model_path.read_bytes()
    assert b"<function sym_float>" in content
    assert b" at 0x" not in content


class NamedLikeItsOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.y = nn.Parameter(torch.randn(3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"y": x + self.y, "same": x}


@pytest.mark.parametrize("engine", ["dynamo", "torchscript"])
def test_names_of_outputs_come_first_and_the_wrapper_is_gone(engine: str, tmp_path: Path) -> None:
    module, x = NamedLikeItsOutput(), torch.randn(2, 3)
    made = lightning_onnx.export(module, x, directory=tmp_path / "made", engine=engine)
    graph = onnx.load(made.model_path).graph
    assert [v.name for v in graph.output] == ["y", "same"]
    assert [w.name for w in graph.initializer] == ["y__weight"]
    assert not any(
        "FlatModule" in p.value or p.key.endswith("stack_trace") for n in graph.node for p in n.metadata_props
    )
    for got, expected in zip(outside.run(made.model_path, x=x), module(x).values(), strict=True):
        np.testing.assert_allclose(got, expected.detach(), atol=1e-6)
