"""The copy is free of torch.compile."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.module.weights.loading import load
from lightning_onnx.module.weights.state import state


@pytest.mark.slow
def test_compiled_parts_lose_their_wrapper() -> None:
    module = nn.Sequential(torch.compile(nn.Linear(2, 2)))
    copied = private_copy(module)
    assert list(state(copied)) == ["0.weight", "0.bias"]
    load(copied, module.state_dict())
    torch.testing.assert_close(copied[0].weight, module[0]._orig_mod.weight)
