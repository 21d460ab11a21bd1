"""Operators that torch's exporters lack or get wrong: written out, and right at a size that was not traced."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, MultivariateNormal, Normal, StudentT
from torch.nn import functional

import lightning_onnx
from lightning_onnx.tracing.rules import table

WINDOW = torch.hann_window(16)
SHARES = torch.arange(1.0, 6.0)


def spectral(x: Tensor, length: int | None = None) -> Tensor:
    found = torch.stft(x, 16, 8, window=WINDOW, return_complex=True)
    return torch.istft(found, 16, 8, window=WINDOW, length=length)


def positive(x: Tensor) -> Tensor:
    return x @ x.mT + torch.eye(x.shape[-1])


def place(x: Tensor) -> Tensor:
    return (x[:, :1].abs() * 7).long() % 4


def written(x: Tensor) -> Any:
    """In place, as users write it."""
    mask = x > 0
    mask += x < -1
    means = torch.zeros(4, 5).scatter_reduce_(0, place(x).expand(-1, 5), x, "mean", include_self=False)
    matrix = torch.zeros(5, 5)
    matrix[:4] = means * 0.1
    matrix[4, 4] = 1.0
    same = x.clone().unsqueeze_(0).squeeze_((0,))
    return mask.float(), means, torch.linalg.inv(matrix + 2 * torch.eye(5)), same * 2


def filled_forward(x: Tensor) -> Tensor:
    last = torch.where(x > 0, torch.arange(5), 0)
    return x.gather(1, torch.cummax(last, 1).values)


def of_sizes(x: Tensor) -> Tensor:
    """Multiply by the inverse of a matrix that is made of sizes, as coordinates of images are normalized."""
    height, width = x.shape[-2:]
    rows = 2.0 / max(width - 1, 1), 0.0, -1.0, 0.0, 2.0 / max(height - 1, 1), -1.0, 0.0, 0.0, 1.0
    return x * torch.linalg.inv(torch.stack([torch.full((), value) for value in rows]).view(3, 3)).sum()


CASES: dict[str, tuple[Callable[[Tensor], Any], tuple[int, ...]]] = {
    "cdist": (lambda x: torch.cdist(x, x.flip(1)), (3, 4)),
    "cdist_by_p": (lambda x: (torch.cdist(x, x.flip(1), p=1.0), torch.cdist(x, x.flip(1), p=float("inf"))), (3, 4)),
    "cholesky": (lambda x: torch.linalg.cholesky(positive(x)), (4, 4)),
    "cholesky_solve": (lambda x: torch.cholesky_solve(x, torch.linalg.cholesky(positive(x))), (4, 4)),
    "inverse": (torch.linalg.inv, (4, 4)),
    "inverse_of_constant_sizes": (of_sizes, (6, 8)),
    "solve": (lambda x: torch.linalg.solve(x, x[..., 0]), (4, 4)),
    "solve_triangular": (lambda x: torch.linalg.solve_triangular(positive(x).tril(), x, upper=False), (4, 4)),
    "slogdet": (torch.linalg.slogdet, (4, 4)),
    "slogdet_of_small_numbers": (lambda x: torch.linalg.slogdet(x * 1e-9), (6, 6)),
    "cdist_of_many": (lambda x: torch.cdist(x, x.flip(1) + 3), (40, 4)),
    "written_in_place": (written, (5,)),
    "filled_forward": (filled_forward, (5,)),
    "scatter_mean": (lambda x: torch.zeros(4, 5).scatter_reduce(0, place(x).expand(-1, 5), x, "mean"), (5,)),
    "scatter_mean_of_others": (
        lambda x: torch.ones(4, 5).scatter_reduce(0, place(x).expand(-1, 5), x, "mean", include_self=False),
        (5,),
    ),
    "index_reduce": (lambda x: torch.zeros(4, 5).index_reduce(0, place(x)[:, 0], x, "amax"), (5,)),
    "median_of_all": (lambda x: x.median() + x, (5,)),
    "nanmedian": (lambda x: torch.where(x > 0, torch.nan, x).nanmedian(-1).values, (2,)),
    "cummax": (lambda x: torch.cummax(x.round(), -1), (5,)),
    "cummin": (lambda x: torch.cummin(x.round(), 1), (5, 3)),
    "adaptive_max_pool": (lambda x: functional.adaptive_max_pool2d(x, 3), (2, 8, 8)),
    "smoothed_cross_entropy": (
        lambda x: functional.cross_entropy(x, place(x)[:, 0], label_smoothing=0.1, ignore_index=1),
        (5,),
    ),
    "weighted_cross_entropy": (
        lambda x: (
            functional.cross_entropy(x, place(x)[:, 0], SHARES, label_smoothing=0.1, ignore_index=1),
            functional.cross_entropy(x, place(x)[:, 0], SHARES, label_smoothing=0.2, reduction="none"),
            functional.cross_entropy(x, x.softmax(1), SHARES, label_smoothing=0.1),
        ),
        (5,),
    ),
    "istft": (spectral, (64,)),
    "istft_of_a_length": (lambda x: spectral(x, 60), (64,)),
    "booleans": (
        lambda x: [
            y.float()
            for y in (
                (x > 0) + (x > 1),
                (x > 0) * (x < 1),
                torch.where(x > 0, x > 1, x < -1),
                torch.where(x > 0, True, False),
                (x > 0).masked_fill(x > 1, False),
                ~(x > 0).masked_fill(x > 1, 0),
                (x > 0).masked_fill(x < 1, 2.0),
                (x > 0) * True,
            )
        ],
        (5,),
    ),
    "whole_numbers": (
        lambda x: (
            1.0 - place(x),
            1.0 - (place(x) + 250).to(torch.uint8),
            place(x).softmax(-1, dtype=torch.float32),
            place(x).mean(1, dtype=torch.float32),
            torch.arange(4.0)[place(x).int()],
        ),
        (5,),
    ),
    "squeeze_of_two": (lambda x: x.squeeze(-1) + 1, (2,)),
    "stable_sort": (lambda x: torch.sort(x.round(), dim=-1, stable=True).indices, (5,)),
    "bincount": (lambda x: torch.bincount(place(x)[:, 0], minlength=6).float(), (5,)),
    "special": (lambda x: (torch.lgamma(x), torch.digamma(x), torch.erfinv(x.tanh())), (5,)),
    "pairs": (
        lambda x: (torch.hypot(x * 1e30, x + 1), torch.copysign(x, -x), torch.fmax(x, 1 - x), torch.fmin(x, -x)),
        (5,),
    ),
    "cov": (lambda x: [f(torch.cat([x, 1 - x.square()]).mT) for f in (torch.cov, torch.corrcoef)], (5,)),
    "categorical": (lambda x: Categorical(logits=x).entropy(), (5,)),
    "student": (lambda x: StudentT(3.0, x).log_prob(x * 2), (5,)),
    "normal": (lambda x: MultivariateNormal(x, scale_tril=torch.eye(5)).log_prob(x * 2), (5,)),
}


class Module(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.shift = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Any:
        return CASES[self.name][0](x + self.shift)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_operator(name: str, tmp_path: Path) -> None:
    module, shape = Module(name), CASES[name][1]
    made = lightning_onnx.export(module, torch.randn(3, *shape), directory=tmp_path / "made")
    assert made.manifest["model"]["engine"] == "dynamo"
    assert made.manifest["notes"] == []
    session = onnxruntime.InferenceSession(made.model_path, providers=["CPUExecutionProvider"])
    x = torch.randn(9, *shape)
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(module(x))
    for got, want in zip(session.run(None, {"x": x.numpy()}), expected, strict=True):
        np.testing.assert_allclose(got, want.numpy(), rtol=1e-3, atol=1e-4 * max(1.0, float(want.abs().max())))


FREE: dict[str, tuple[Callable[[Tensor], Any], list[int], list[int]]] = {
    "inverse_of_sizes": (of_sizes, [6, 8], [9, 12]),
    "unfold": (lambda x: functional.unfold(x, 3, dilation=2, padding=1, stride=2), [2, 9, 12], [2, 14, 7]),
    "istft_of_any_length": (spectral, [64], [104]),
    "istft_of_the_same_length": (lambda x: spectral(x, x.shape[-1]), [64], [101]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FREE)
def test_operator_of_free_sizes(name: str, tmp_path: Path) -> None:
    function, traced, other = FREE[name]
    axes = {"x": {0: "batch"} | {d: f"size_{d}" for d, size in enumerate(traced, 1) if size != other[d - 1]}}
    CASES[name] = function, tuple(traced)
    made = lightning_onnx.export(Module(name), torch.randn(3, *traced), directory=tmp_path / "made", dynamic_axes=axes)
    session = onnxruntime.InferenceSession(made.model_path, providers=["CPUExecutionProvider"])
    x = torch.randn(4, *other)
    (got,) = session.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(got, function(x).numpy(), rtol=1e-3, atol=1e-5)


def test_an_in_place_overload_without_a_rule_is_unchanged() -> None:
    class Dropped(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 2).unsqueeze_(1).squeeze_((1,))

    program = torch.export.export(Dropped(), (torch.randn(3, 5),))
    x = torch.randn(3, 5)
    torch.testing.assert_close(table.decomposed(program, {}).module()(x), x * 2)


@pytest.mark.slow
@pytest.mark.parametrize("looks", [True, False])  # dynamo itself turns it off, once it has run
def test_distributions_look_at_values_as_before_an_export(looks: bool, tmp_path: Path) -> None:
    before = Distribution._validate_args
    try:
        Distribution.set_default_validate_args(looks)
        lightning_onnx.export(Module("categorical"), torch.randn(3, 5), directory=tmp_path / "made")
        with pytest.raises(ValueError, match="to satisfy the constraint") if looks else contextlib.nullcontext():
            Normal(torch.zeros(3), -torch.ones(3))
    finally:
        Distribution.set_default_validate_args(before)
