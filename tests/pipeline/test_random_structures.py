"""Random structures of batches: the artifact runs at unseen sizes, or an error of this package names the reason."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import ONNXExportError
from lightning_onnx.module.calls.nested import flatten
from tests import outside


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass
class Record:
    value: Any
    flag: bool = True


class Sums(nn.Module):
    """Takes any nesting: one output per tensor, per row, scaled by the numbers among the arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(0.5))

    def forward(self, batch: Any, factor: Any = 1.0, **more: Any) -> Any:
        tensors = flatten([batch, more])[1]
        number = float(factor) if isinstance(factor, (int, float)) else 1.0
        return {f"out {i}/": self.one(t, number) for i, t in enumerate(tensors)}

    def one(self, t: Tensor, number: float) -> Tensor:
        real = t.to(torch.float32) * self.scale * number
        return real.reshape(t.shape[0], -1).sum(1) if t.dim() > 1 else real + 1


DTYPES = [
    torch.float32,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.bool,
    torch.float16,
    torch.bfloat16,
    torch.uint8,
]
ROWS = 3

tensors = st.builds(
    lambda shape, dtype: (torch.rand(ROWS, *shape) * 5).to(dtype),
    st.lists(st.integers(1, 4), max_size=2),
    st.sampled_from(DTYPES),
)
keywords = st.dictionaries(st.sampled_from(["ids", "mask", "labels"]), tensors, max_size=2)
keys = st.text("abc é/.-_0", min_size=1, max_size=4)
leaves = st.one_of(tensors, tensors, st.booleans(), st.integers(0, 3), st.floats(0, 2), st.none(), st.text(max_size=3))
nested = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(keys, inner, max_size=3),
        st.builds(Pair, inner, inner),
        st.builds(Record, inner),
    ),
    max_leaves=5,
)


def rows(value: Any, number: int) -> Any:
    structure, found = flatten(value)
    return structure.fill([t[torch.arange(number) % ROWS] for t in found])


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    batch=nested, more=st.dictionaries(st.sampled_from(["ids", "mask", "labels"]), tensors, max_size=2), factor=leaves
)
def test_any_structure_is_exported_or_refused_with_a_reason(batch: Any, more: Any, factor: Any) -> None:
    module = Sums()
    with tempfile.TemporaryDirectory() as directory:
        try:
            made = lightning_onnx.export(
                module, (batch, factor), more, directory=Path(directory) / "x", engine="torchscript", opset_version=17
            )
        except ONNXExportError as error:
            assert str(error)
            assert not flatten([batch, more])[1] or "labels" in more or _odd(batch, more, factor), error
            return
        names = [spec.name for spec in made.signature.inputs]
        assert len(set(names)) == len(names)
        kept = {k: v for k, v in more.items() if k != "labels"}
        for number in (1, 5):
            given_ = flatten({"batch": rows(batch, number), "factor": rows(factor, number), **rows(kept, number)})[1]
            half = (torch.float16, torch.bfloat16)
            inputs = [t.float() if t.dtype in half else t for t in given_]
            feeds = dict(zip(names, (t.numpy() for t in inputs), strict=True))
            outputs = outside.session(made.model_path).run(None, feeds)
            with torch.no_grad():
                expected = module(rows(batch, number), rows(factor, number), **rows(kept, number))
            assert len(outputs) == len(expected)
            for a, b in zip(outputs, expected.values(), strict=True):
                np.testing.assert_allclose(a, b.numpy(), rtol=1e-2, atol=1e-2)


def _odd(batch: Any, more: Any, factor: Any) -> bool:
    """Whether there is an output that depends on no input, which no graph can have."""
    return not flatten([batch, {k: v for k, v in more.items() if k != "labels"}])[1]
