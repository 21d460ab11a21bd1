"""Operators in onnxruntime against torch, at extreme values and near 0, in both precisions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lightning_onnx import export
from lightning_onnx.tracing.rules import table
from tests.tracing.making import as_torch_writes

VALUES = (
    *(0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 3.0, -3.0, 7.0, 19.1, -19.1, 20.0, -20.0, 88.5, -88.5, 200.0, -200.0),
    *(5000.0, -5000.0, 1e-3, -1e-3, 1e-8, -1e-8, 1e-20, -1e-20, 0.9, -0.9, 0.999999, -0.999999, 1e10, -1e10),
    *(float("nan"), float("inf"), float("-inf")),
)

ONE: dict[str, Callable[[Tensor], Tensor]] = {
    "clamp_max": lambda x: x.clamp(max=0.5),
    "clamp_min": lambda x: x.clamp(min=0),
    "clamp_mixed": lambda x: x.clamp(-1, 0.5),
    "expm1": torch.expm1,
    "floor_divide": lambda x: x // 3,
    "floor_divide_negative": lambda x: torch.div(x, -3, rounding_mode="floor"),
    "log1p": torch.log1p,
    "logsigmoid": functional.logsigmoid,
    "remainder": lambda x: x % 7,
    "remainder_negative": lambda x: x % -7,
    "log_of_sigmoid": lambda x: x.sigmoid().log(),
    "signbit": torch.signbit,
}
"""Of one tensor."""

SPECIAL: dict[str, Callable[[Tensor], Tensor]] = {
    "erfc": torch.erfc,
    "erfcx": torch.special.erfcx,
    "erfinv": torch.erfinv,
    "log_ndtr": torch.special.log_ndtr,
}
"""Of one tensor, computed in double precision for either dtype; ``test_special`` has float64, and all of them."""

TWO: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "copysign": torch.copysign,
    "floor_divide": torch.floor_divide,
    "fmax": torch.fmax,
    "hypot": torch.hypot,
    "logaddexp": torch.logaddexp,
    "logaddexp2": torch.logaddexp2,
    "remainder": torch.remainder,
    "xlog1py": torch.special.xlog1py,
    "xlogy": torch.xlogy,
}
"""Of all pairs."""

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "bce": lambda x, y: functional.binary_cross_entropy_with_logits(x, y, reduction="none"),
    "bce_mean": functional.binary_cross_entropy_with_logits,
    "bce_weighted": lambda x, y: functional.binary_cross_entropy_with_logits(
        x, y, weight=x.new_full((2,), 3.0), pos_weight=x.new_full((2,), 2.0), reduction="sum"
    ),
    "multilabel": lambda x, y: functional.multilabel_soft_margin_loss(x, y, reduction="none"),
    "soft": lambda x, y: functional.cross_entropy(x, y.softmax(-1), reduction="none", label_smoothing=0.1),
    "soft_mean": lambda x, y: functional.cross_entropy(x, y.softmax(-1)),
    "logcumsumexp": lambda x, y: torch.logcumsumexp(x, -1) + torch.logcumsumexp(y, 0),
}
"""Of finite logits and targets of 0 and 1."""


class Many(nn.Module):
    def __init__(self, functions: dict[str, Callable[..., Tensor]]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, *tensors: Tensor) -> dict[str, Tensor]:
        return {f"{name}_of": function(*tensors) for name, function in self.functions.items()}


def arguments(kind: str, dtype: torch.dtype) -> tuple[Tensor, ...]:
    values = torch.tensor(VALUES, dtype=dtype)
    if kind == "one":
        return (values,)
    if kind == "two":
        return tuple(t.flatten() for t in torch.meshgrid(values, values, indexing="ij"))
    logits = values[values.isfinite() & (values.abs() < 1e9)][:26].reshape(-1, 2)
    return logits, (torch.arange(26).reshape(-1, 2) % 3 == 0).to(dtype)


def program(functions: dict[str, Callable[..., Tensor]], tensors: tuple[Tensor, ...]) -> onnxruntime.InferenceSession:
    """Only the rules and torch's exporter: parity would look at these inputs, too. ``test_needed`` has free sizes."""
    captured = torch.export.export(Many(functions), tensors)
    written = as_torch_writes(captured, rules=table.RULES, custom_translation_table=table.translations())
    return onnxruntime.InferenceSession(written.model_proto.SerializeToString())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "functions", "dtype"),
    [
        ("one", ONE, torch.float32),
        pytest.param("one", ONE, torch.float64, marks=pytest.mark.slow),
        pytest.param("two", TWO, torch.float32, marks=pytest.mark.slow),
        pytest.param("two", TWO, torch.float64, marks=pytest.mark.slow),
        pytest.param("losses", LOSSES, torch.float32, marks=pytest.mark.slow),
        pytest.param("losses", LOSSES, torch.float64, marks=pytest.mark.slow),
        ("one", {"log_ndtr": torch.special.log_ndtr}, torch.float32),
        pytest.param("one", SPECIAL, torch.float32, marks=pytest.mark.slow),
    ],
)
def test_at_extremes(kind: str, functions: dict[str, Callable[..., Tensor]], dtype: torch.dtype) -> None:
    tensors = arguments(kind, dtype)
    session = program(functions, tensors)
    feeds = {i.name: t.numpy() for i, t in zip(session.get_inputs(), tensors, strict=True)}
    found = dict(zip(functions, session.run(None, feeds), strict=True))
    for name, function in functions.items():
        rtol, atol = (2e-5, 6e-8) if dtype == torch.float32 else (1e-9, 1e-14)
        np.testing.assert_allclose(found[name], function(*tensors).numpy(), rtol=rtol, atol=atol, err_msg=name)


@pytest.mark.slow
def test_angles_have_the_signs_of_zeros() -> None:
    x, y = arguments("two", torch.float32)
    session = program({"atan2": torch.atan2}, (x, y))
    (found,) = session.run(None, {i.name: t.numpy() for i, t in zip(session.get_inputs(), (x, y), strict=True)})
    np.testing.assert_allclose(found, torch.atan2(x, y).numpy(), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("floats", [False, True])
def test_a_query_that_may_see_nothing_gets_zeros(floats: bool, tmp_path: Path) -> None:
    class Attention(nn.Module):
        def forward(self, x: Tensor, seen: Tensor) -> Tensor:
            mask: Any = torch.zeros_like(seen, dtype=x.dtype).masked_fill(~seen, float("-inf")) if floats else seen
            return functional.scaled_dot_product_attention(x, x, x, attn_mask=mask)

    x, seen = torch.randn(2, 2, 5, 4), torch.rand(2, 1, 5, 5) > 0.3
    made = export(Attention(), (x, seen), directory=tmp_path / "made")
    seen[:, :, 1] = False
    session = onnxruntime.InferenceSession(made.model_path)
    (found,) = session.run(None, {"x": x.numpy(), "seen": seen.numpy()})
    want = functional.scaled_dot_product_attention(x, x, x, attn_mask=seen)
    assert (want[:, :, 1] == 0).all()
    np.testing.assert_allclose(found, want.numpy(), atol=1e-6)


@pytest.mark.slow
def test_numbers_combined_with_float64_keep_their_precision() -> None:
    functions: dict[str, Callable[..., Tensor]] = {
        "arithmetic": lambda x: (x * 0.1 + 0.7 - x / 0.3) ** 1.1 - (0.1 - x),
        "compared": lambda x: (x * 0 + 0.7 > 0.7).double() + 2 * (x * 0 + 0.7 <= 0.7),  # 0.7 in float32 is less
        "alpha": lambda x: torch.sub(x, x.flip(0), alpha=0.1) + torch.add(x, 3, alpha=0.3),
        "lerp": lambda x: torch.lerp(x, -x, 0.3) + torch.lerp(x, -x, 0.8),
        "units": lambda x: x.log2() + x.log10() + x.deg2rad() + x.rad2deg(),
        "gelu": lambda x: functional.gelu(x) + functional.gelu(x, approximate="tanh"),
        "erf": lambda x: torch.erf(x) + torch.special.ndtr(x),
    }
    x = torch.rand(9, 2, dtype=torch.float64) + 0.1
    session = program(functions, (x,))
    found = dict(zip(functions, session.run(None, {session.get_inputs()[0].name: x.numpy()}), strict=True))
    for name, function in functions.items():
        np.testing.assert_allclose(found[name], function(x).numpy(), rtol=1e-13, err_msg=name)
