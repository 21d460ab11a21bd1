from __future__ import annotations

import dataclasses
from collections import OrderedDict, UserDict
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_onnx.module.calls.nested import flatten


class Pair(NamedTuple):
    left: Any
    right: Any


@dataclasses.dataclass(frozen=True)
class Batch:
    image: Any
    size: int = 3


class Plain:
    """An object of another library: tensors in its attributes, some behind a private one."""

    def __init__(self, x: Any) -> None:
        self.x = x
        self._store = {"edge": x}
        self.name = "graph"


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return a is b
    if dataclasses.is_dataclass(a):
        return type(a) is type(b) and all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    if isinstance(a, (dict, UserDict)):
        return type(a) is type(b) and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


leaves = st.one_of(
    st.builds(lambda n: torch.zeros(n), st.integers(0, 3)), st.booleans(), st.integers(), st.text(max_size=3), st.none()
)
nested = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.text(max_size=4), inner, max_size=3),
        st.dictionaries(st.text(max_size=4), inner, max_size=3).map(OrderedDict),
        st.dictionaries(st.text(max_size=4), inner, max_size=3).map(UserDict),
        st.builds(Pair, inner, inner),
        st.builds(Batch, inner),
    ),
    max_leaves=8,
)


@given(nested)
def test_flattened_values_are_rebuilt(value: Any) -> None:
    structure, tensors = flatten(value)
    assert len(structure.paths) == len(tensors)
    assert same(structure.fill(tensors), value)


def test_paths_name_keys_fields_and_indices() -> None:
    x = torch.zeros(1)
    structure, tensors = flatten({"a": [x, 1, x], "b": Pair(x, None), "c": Batch(x)})
    assert structure.paths == (("a", "0"), ("a", "2"), ("b", "left"), ("c", "image"))
    assert len(tensors) == 4


def test_plain_objects_with_tensors() -> None:
    old, new = torch.zeros(1), torch.ones(1)
    value = Plain(old)
    structure, _ = flatten(value)
    assert structure.paths == (("x",), ("edge",))
    filled = structure.fill([new, new])
    assert filled.x is new
    assert filled._store["edge"] is new
    assert value.x is old


def test_modules_are_not_flattened() -> None:
    assert flatten({"net": torch.nn.Linear(2, 2)})[1] == []


def test_model_output_of_transformers() -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    value = outputs.SequenceClassifierOutput(logits=torch.zeros(2), hidden_states=(torch.zeros(1), torch.zeros(1)))
    assert flatten(value)[0].paths == (("logits",), ("hidden_states", "0"), ("hidden_states", "1"))
