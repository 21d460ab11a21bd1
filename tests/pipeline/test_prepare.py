"""From the observed calls to a plan: notes on the batch."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.errors import EngineError
from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.plan import Plan
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.tracing.refusals import Refusals
from tests.module.calls.observing import Applies, observed


def prepared(module: nn.Module, *calls: tuple[Tensor, ...], batch_size: int, **options: Any) -> Plan:
    observation: Observation = observed(module, *calls, batch_sizes=(batch_size,) * len(calls))
    return prepare(module, [observation], ExportConfig(**options))


@pytest.mark.parametrize(("rows", "told"), [(4, r"has the loader's batch size \(4\)"), (8, r"has 2 times the loader")])
def test_a_static_batch_is_reported(rows: int, told: str) -> None:
    plan = prepared(Applies(lambda x: x.reshape(rows, 3) * 2), (torch.randn(rows, 3),), batch_size=4)
    (note,) = plan.notes
    assert note.startswith("dim 0 of input 'tensors_0' is static")
    assert re.search(told, note)


def test_a_requested_static_batch_is_not_reported() -> None:
    module = Applies(lambda x: x.reshape(4, 3) * 2)
    assert not prepared(module, (torch.randn(4, 3),), batch_size=4, dynamic_axes=None).notes


@pytest.mark.slow
def test_a_module_refused_for_the_branch_it_takes_is_exported_when_it_takes_another() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gate = nn.Buffer(torch.tensor(-1.0))

        def forward(self, x: Tensor) -> Tensor:
            return x * 2 if self.gate > 0 else torch.special.bessel_j0(x)

    module, refusals = Gated().eval(), Refusals()
    calls = [observed(module, (torch.randn(4, 3),), batch_sizes=(4,))]
    with pytest.raises(EngineError, match="bessel_j0"):
        prepare(module, calls, ExportConfig(), refusals=refusals)
    module.gate.fill_(1.0)
    assert prepare(module, calls, ExportConfig(), refusals=refusals).graph is not None


class Clamping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            self.weight.data.clamp_(max=1.0)
        return x * self.weight


@pytest.mark.slow
def test_a_method_that_writes_weights_leaves_no_proof_for_them() -> None:
    for module, is_proven in ((Clamping(), False), (nn.Linear(3, 2), True)):
        call = Observation.of(sample_of(module, "forward", ((torch.randn(4, 3),), {})), "a test")
        assert (prepare(module.eval(), [call], ExportConfig()).proof is not None) == is_proven
