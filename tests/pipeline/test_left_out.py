"""Nothing is left out silently: the manifest names arguments and results that are not in the graph."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MultivariateNormal, Normal, TransformedDistribution
from torch.distributions.transforms import AffineTransform, TanhTransform
from torch.nn import functional

import lightning_onnx
from tests import outside

ROWS = torch.linspace(-1, 1, 12).view(3, 4)


class Calls(nn.Module):
    """Applies a function to a layer's output."""

    def __init__(self, make: Callable[..., Any]) -> None:
        super().__init__()
        self.layer, self.make = nn.Linear(4, 6), make

    def forward(self, x: Tensor, unused: Tensor | None = None) -> Any:
        return self.make(self.layer(x))


class Batch(nn.Module):
    """Takes a batch as a loader makes it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, batch: dict[str, Any], scale: float = 2.0) -> Any:
        return self.layer(batch["x"]) * scale


def notes_and_warnings(module: nn.Module, args: Any, directory: Path) -> tuple[list[str], list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made = lightning_onnx.export(module, args, directory=directory / "x")
    told = [str(w.message).removeprefix("ONNX export: ") for w in caught if "ONNX export: " in str(w.message)]
    return list(made.manifest["notes"]), told


def test_outputs_that_are_not_tensors_are_a_note_and_a_warning(tmp_path: Path) -> None:
    module = Calls(lambda h: {"h": h, "count": 3, "names": ["a", "b"], "nothing": None})
    notes, told = notes_and_warnings(module, ROWS, tmp_path)
    note = "left out of the outputs, because a graph returns only tensors: count (int), names (list of str)"
    assert notes == [note]
    assert told == [note]


@pytest.mark.slow
def test_an_argument_without_effect_is_a_note_and_a_warning(tmp_path: Path) -> None:
    notes, told = notes_and_warnings(Calls(lambda h: h), (ROWS, ROWS), tmp_path)
    assert notes == told == ["input 'unused' has no effect on the outputs"]


def test_entries_of_a_batch_and_constants_are_notes(tmp_path: Path) -> None:
    notes, told = notes_and_warnings(Batch(), ({"x": ROWS, "y": ROWS, "files": ["a", "b", "c"]}, 0.5), tmp_path)
    assert told == ["left out of the graph, which does not use it: batch.y"]
    assert notes == [
        *told,
        "kept as constants of the graph, because they are not tensors: batch.files (list of str), scale (float)",
    ]


def gaussian(h: Tensor) -> Distribution:
    a, b = h.chunk(2, -1)
    return Normal(a, functional.softplus(b) + 1e-3, validate_args=False)


DISTRIBUTIONS: dict[str, tuple[Callable[[Tensor], Any], list[str]]] = {
    "normal": (gaussian, ["loc", "scale"]),
    "logits": (lambda h: Categorical(logits=h), ["logits"]),
    "probs": (lambda h: Categorical(probs=h.softmax(-1)), ["probs"]),
    "squashed": (
        lambda h: TransformedDistribution(gaussian(h), [AffineTransform(0.0, 2.0), TanhTransform()]),
        ["base_dist_loc", "base_dist_scale"],
    ),
    "full": (
        lambda h: MultivariateNormal(h, scale_tril=torch.eye(6, device=h.device) * 2),
        ["loc", "scale_tril"],
    ),
    "among others": (lambda h: {"policy": Categorical(logits=h), "value": h.sum(-1)}, ["policy_logits", "value"]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize("engine", ["dynamo", pytest.param("torchscript", marks=pytest.mark.slow)])
def test_a_distribution_is_exported_as_its_parameters(name: str, engine: str, tmp_path: Path) -> None:
    make, names = DISTRIBUTIONS[name]
    module = Calls(make).eval()
    made = lightning_onnx.export(module, ROWS, directory=tmp_path / "x", engine=engine)
    assert made.passed
    assert [spec.name for spec in made.signature.outputs] == names
    more = torch.randn(5, 4)
    with torch.no_grad():
        result = module(more)
    values = {
        "loc": lambda d: d.loc,
        "scale": lambda d: d.scale,
        "logits": lambda d: d.logits,
        "probs": lambda d: d.probs,
        "scale_tril": lambda d: d.scale_tril,
        "base_dist_loc": lambda d: d.base_dist.loc,
        "base_dist_scale": lambda d: d.base_dist.scale,
        "policy_logits": lambda d: d["policy"].logits,
        "value": lambda d: d["value"],
    }
    for output, got in zip(names, outside.run(made.model_path, x=more), strict=True):
        np.testing.assert_allclose(got, values[output](result), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_where_reads_cannot_be_seen_the_graph_tells_what_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Entry(nn.Module):
        def forward(self, batch: dict[str, Tensor]) -> Tensor:
            return batch["x"] * 2

    def fails(*_: Any) -> Any:
        raise NotImplementedError("an operator that no mode knows")

    monkeypatch.setattr("lightning_onnx.module.flat.FlatModule.untouched", fails)
    batch = {"x": torch.randn(2, 3), "y": torch.zeros(2)}
    made = lightning_onnx.export(Entry(), (batch,), directory=tmp_path / "a")
    assert [spec.name for spec in made.signature.inputs] == ["batch_x"]
