"""A refusal is remembered for as long as its cause stands."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.errors import EngineError
from lightning_onnx.tracing.base import Engine
from lightning_onnx.tracing.captures.torch_export import TorchExport
from lightning_onnx.tracing.dynamo import DynamoEngine
from lightning_onnx.tracing.refusals import Asked, Refusals
from lightning_onnx.tracing.torchscript import TorchScriptEngine
from tests.tracing.making import made

FOLLOWING: Engine = TorchScriptEngine()
SYMBOLIC: Engine = DynamoEngine(TorchExport())


class Gated(nn.Module):
    def __init__(self, gate: float = -1.0, factor: float = 2.0) -> None:
        super().__init__()
        self.register_buffer("gate", torch.tensor(gate))
        self.weight = nn.Parameter(torch.tensor(factor))

    def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
        return x * self.weight if self.gate > 0 else torch.special.bessel_j0(x)


def asked(engine: Engine, module: nn.Module, x: Tensor, scale: float = 1.0) -> Asked | None:
    flat, request = made(module, x)
    request.sample.structure.skeleton["scale"] = scale
    return Asked.of(engine, flat, request, 18, {})


X = torch.ones(2, 3)


def test_an_engine_that_follows_values_is_asked_again_with_other_values() -> None:
    first = asked(FOLLOWING, Gated(), X)
    assert first == asked(FOLLOWING, Gated(), X.clone())
    assert first != asked(FOLLOWING, Gated(gate=1.0), X)
    assert first != asked(FOLLOWING, Gated(factor=3.0), X)
    assert first != asked(FOLLOWING, Gated(), X + 1)


def test_another_engine_is_not() -> None:
    assert asked(SYMBOLIC, Gated(), X) == asked(SYMBOLIC, Gated(gate=1.0), X + 1)


@pytest.mark.parametrize("engine", [FOLLOWING, SYMBOLIC])
def test_other_arguments_are_another_request(engine: Engine) -> None:
    assert asked(engine, Gated(), X) != asked(engine, Gated(), X, scale=2.0)


def test_what_cannot_be_compared_is_not_remembered() -> None:
    refusals, error, axes = Refusals(), EngineError("no"), ({0: "batch"},)
    module = Gated()
    module.register_buffer("unread", torch.zeros(2, device="meta"))
    assert asked(FOLLOWING, module, X) is None
    refusals.add(FOLLOWING, None, axes, error)
    assert refusals.of(FOLLOWING, None, axes) is None


def test_a_refusal_for_lack_of_memory_or_for_these_weights_is_not_remembered() -> None:
    with pytest.raises(RuntimeError) as full:
        torch.empty(2**60)
    for cause in (full.value, torch.OutOfMemoryError("full"), MemoryError(), torch.linalg.LinAlgError("singular")):
        refusals, error, axes = Refusals(), EngineError("the engine refuses"), ({0: "batch"},)
        error.__cause__ = cause
        what = asked(SYMBOLIC, Gated(), X)
        refusals.add(SYMBOLIC, what, axes, error)
        assert refusals.of(SYMBOLIC, what, axes) is None
        refusals.add(SYMBOLIC, what, axes, EngineError("the engine refuses"))
        assert str(refusals.of(SYMBOLIC, what, axes)) == "the engine refuses"


def test_a_refusal_that_needs_no_values_holds_for_all_of_them() -> None:
    refusals, axes = Refusals(), ({0: "batch"},)

    def refuse(engine: Engine, gate: float, line: int) -> None:
        error = EngineError("cannot decide")
        error.__cause__ = RuntimeError(f"a branch at line {line}")
        refusals.add(engine, asked(engine, Gated(gate), X), axes, error)

    refuse(SYMBOLIC, -1.0, line=3)
    refuse(FOLLOWING, -1.0, line=4)  # which is reached with these values only
    assert refusals.of(FOLLOWING, asked(FOLLOWING, Gated(-1.0), X), axes) is not None
    assert refusals.of(FOLLOWING, asked(FOLLOWING, Gated(1.0), X + 1), axes) is None
    refuse(FOLLOWING, -2.0, line=3)
    assert refusals.of(FOLLOWING, asked(FOLLOWING, Gated(1.0), X + 1), axes) is not None
