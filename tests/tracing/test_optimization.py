"""The optimized graph gives the same as torch's graph, on inputs that reveal a dropped constant."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnxscript import optimizer
from torch import Tensor, nn

from lightning_onnx.tracing import optimization
from lightning_onnx.tracing.optimization import optimized
from tests.tracing.making import as_torch_writes

CONSTANTS = (1e-30, 1e-9, 1e-8, 1e-6, 1e-5)
"""Around 0; with 1 added and subtracted, around 1."""

SMALL: dict[str, Callable[[Tensor, float], Tensor]] = {
    "norm": lambda x, c: x / (x.norm(dim=-1, keepdim=True) + c),
    "standard": lambda x, c: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + c),
    "entropy": lambda x, c: -(x.softmax(-1) * (x.softmax(-1) + c).log()).sum(-1),
    "log": lambda x, c: (x.abs() + c).log(),
    "subtracted": lambda x, c: (x.abs() - c).sqrt(),
    "root": lambda x, c: (x.square() + c).sqrt(),
    "reciprocal": lambda x, c: 1 / (x.relu() + c),
    "added in front": lambda x, c: c + x - x.mean(-1, keepdim=True),
    "times": lambda x, c: x * c,
    "times 1 + c": lambda x, c: x * (1 + c) - x,
    "times 1 - c": lambda x, c: (1 - c) * x - x,
    "divided by 1 + c": lambda x, c: x / (1 + c) - x,
    "clamped": lambda x, c: x.clamp(min=c).clamp(max=1 - c),
    "power": lambda x, c: x.abs() ** (1 + c),
    "where": lambda x, c: torch.where(x > c, x, x + c),
}

PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "adds 0": lambda x: 1 / (x * -1 + 0.0),
    "subtracts 0": lambda x: 1 / (x - 0.0),
    "times 1": lambda x: x * 1.0 / 1.0,
    "clamped twice": lambda x: x.clamp(-50, 50) % 7 + x.clamp(-50, 50) // 3,
    "clamped in a row": lambda x: x.clamp(-50, 50).clamp(min=-3).clamp(max=100),
    "relu of a clamp": lambda x: x.clamp(-1, 6).relu() + x.relu().clamp(max=2),
    "relu of a relu": lambda x: x.relu().relu(),
    "min and max": lambda x: torch.minimum(torch.maximum(x, torch.tensor(-2.0)), torch.tensor(3.0)),
    "max and min": lambda x: torch.maximum(torch.minimum(x, torch.tensor(-2.0)), torch.tensor(-3.0)),
    "halves of an odd dim": lambda x: x[:, :2].sum(-1) + x[:, 2:].mean(-1),
    "slices in a row": lambda x: x[:, 0:5][:, 1:5],
    "cast twice": lambda x: x.double().half().float(),
    "cast down and up": lambda x: x.half().float() + x.to(torch.int32).float(),
    "reshaped twice": lambda x: x.reshape(-1, 1, 5).reshape(-1, 5),
    "transposed twice": lambda x: x.mT.unsqueeze(0).unsqueeze(-1).squeeze(-1)[0].mT,
    "padded": lambda x: nn.functional.conv1d(nn.functional.pad(x.unsqueeze(1), (1, 2)), torch.ones(1, 1, 3)),
    "whole rows written": lambda x: torch.zeros_like(x).index_put((torch.arange(x.shape[0]),), x),
    "equal parts": lambda x: (x * 3 + x * 3) / (x * 3 - 1),
    "sizes": lambda x: x * (x.shape[0] * 1 + 0) + abs(x.shape[0] + -5),
    "a mean over all": lambda x: x.sum() / x.numel(),
}


class Expressions(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        small = {f"{name} {c:g}": f(x, c) for name, f in SMALL.items() for c in CONSTANTS}
        return small | {name: f(x) for name, f in PLAIN.items()}


def values() -> dict[str, np.ndarray]:
    rows = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    equal = {str(n): np.full((2, 5), n, np.float32) for n in (0.0, -0.0, 1.0, 60.0, -60.0, 1e4, -1e4, 1e-9, 1e-30)}
    odd = np.array([[0, -0.0, np.inf, 1, 2], [np.nan, 1, 2, 3, 4], [-np.inf, 3, 2, 1, 0]], np.float32)
    return equal | {"normal": rows, "wide": rows * 30, "small": rows * 1e-8, "not finite": odd}


@pytest.fixture(scope="module")
def models() -> tuple[ir.Model, ir.Model]:
    dims = {"x": {0: "batch"}}
    written = as_torch_writes(Expressions().eval(), torch.randn(7, 5), dynamic_shapes=dims).model
    return written, optimized(written)


def run(model: ir.Model, x: np.ndarray) -> dict[str, np.ndarray]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString(), options)
    outputs = [o.name for o in session.get_outputs()]
    return dict(zip(outputs, session.run(None, {session.get_inputs()[0].name: x}), strict=True))


@pytest.mark.slow
def test_no_value_changes(models: tuple[ir.Model, ir.Model]) -> None:
    written, simplified = models
    assert len(simplified.graph) < len(written.graph)
    wrong = []
    for label, x in values().items():
        expected, found = run(written, x), run(simplified, x)
        for name, value in expected.items():
            got = found[name]
            same_places = np.array_equal(np.isnan(value), np.isnan(got))
            infinite = np.isinf(value) | np.isinf(got)
            finite = np.isfinite(value) & np.isfinite(got)
            if not (same_places and np.array_equal(value[infinite], got[infinite])):
                wrong.append(f"{name} at {label}: NaN or infinity in other places")
            elif finite.any() and value.dtype.kind == "f":
                np.testing.assert_array_max_ulp(value[finite], got[finite], 2)
    assert not wrong, wrong


@pytest.mark.parametrize("name", ["norm", "times 1 + c"])
def test_rules_with_tolerances_drop_constants(name: str) -> None:
    """If this fails, onnxscript's rules for adding 0 and multiplying by 1 have become exact."""

    class One(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return SMALL[name](x, 1e-9 if name == "norm" else 1e-6)

    written = as_torch_writes(One().eval(), torch.randn(7, 5)).model
    dropped = written.clone()
    optimizer.optimize_ir(dropped)
    assert len(dropped.graph) < len(optimized(written).graph)


@pytest.mark.slow
def test_rules_for_clamps_write_graphs_that_do_not_load(models: tuple[ir.Model, ir.Model]) -> None:
    """If this fails, onnxscript's rules for Clip, Relu, Min and Max can be used."""
    default = models[0].clone()
    optimizer.optimize_ir(default)
    with pytest.raises(Exception, match=r"is not a graph input|Node input"):
        run(default, np.zeros((2, 5), np.float32))


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["raises", "writes an invalid graph"])
def test_a_pass_that_fails_leaves_the_graph_as_it_was(
    fault: str, models: tuple[ir.Model, ir.Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(model: ir.Model) -> None:
        if fault == "raises":
            raise IndexError("tuple index out of range")
        next(node for node in model.graph if node.inputs).replace_input_with(0, ir.Value(name="nowhere"))

    monkeypatch.setattr(optimization, "_PASSES", broken)
    assert optimized(models[0]) is models[0]
