"""What a method returns besides tensors is named."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, TanhTransform, TransformedDistribution

from lightning_onnx.module.calls.outputs import outputs_of

ROWS = torch.zeros(2, 3)


class Cache:
    """Keeps tensors as a library's own class does."""

    def __init__(self) -> None:
        self.layers = [ROWS]


class Prediction:
    """A plain class with tensors."""

    def __init__(self) -> None:
        self.scores, self.boxes, self.names = ROWS, ROWS + 1, ["a", "b"]


@dataclasses.dataclass
class Output:
    """As of a language model."""

    logits: Tensor
    cache: Cache
    loss: Tensor | None = None


@pytest.mark.parametrize(
    ("result", "paths", "left_out"),
    [
        (ROWS, [()], ()),
        ((ROWS, 3), [("0",)], ("output_1 (int)",)),
        ({"x": ROWS, "n": 2.5, "who": "me"}, [("x",)], ("n (float)", "who (str)")),
        ({"x": ROWS, "sizes": [1, 2, 3]}, [("x",)], ("sizes (list of int)",)),
        ({"x": ROWS, "mixed": (1, "a")}, [("x",)], ("mixed (list of int and str)",)),
        ([ROWS, ROWS.shape, None], [("0",)], ("output_1 (list of int)",)),
        ([{"x": ROWS, "n": 1}], [("0", "x")], ("output_0_n (int)",)),
        (Output(ROWS, Cache()), [("logits",)], ("cache (Cache)",)),
        (Prediction(), [("scores",), ("boxes",)], ("names (list of str)",)),
        ((ROWS, Prediction()), [("0",)], ("output_1 (Prediction)",)),
        (
            {"action": TransformedDistribution(Normal(ROWS, ROWS + 1), [TanhTransform()])},
            [("action", "base_dist", "loc"), ("action", "base_dist", "scale")],
            ("action.transforms (list of TanhTransform)",),
        ),
    ],
)
def test_tensors_are_taken_and_the_rest_is_named(
    result: object, paths: list[tuple[str, ...]], left_out: tuple[str, ...]
) -> None:
    outputs = outputs_of(result)
    assert list(outputs.paths) == paths
    assert len(outputs.tensors) == len(paths)
    assert outputs.left_out == left_out
