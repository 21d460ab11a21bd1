from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_onnx.errors import EngineError
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.fused import Around
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.pipeline.failing_step import failing_step_named


def untranslatable(x: Tensor) -> Tensor:
    return torch.geqrf(x)[0]


def raised(around: Around) -> EngineError:
    module = private_copy(nn.Linear(4, 4))
    observation = Observation.of(around.sample(module, ((torch.randn(3, 4),), {})), "a test")
    around.attach(module)
    with pytest.raises(EngineError) as caught, failing_step_named(module, around, observation):
        raise EngineError("it cannot be translated")
    return caught.value


@pytest.mark.slow
def test_the_step_without_an_onnx_form_is_named() -> None:
    pre = raised(Around("forward", nn.Sequential(nn.ReLU(), nn.Sequential(nn.Tanh())), untranslatable))
    assert "postprocess: step 1, untranslatable, has no ONNX form" in str(pre)
    assert "The whole: it cannot be translated" in str(pre)

    def both(x: Tensor) -> Tensor:
        return untranslatable(x)

    steps = v2.Compose([nn.ReLU(), both])
    assert "preprocess: step 2, both, has no ONNX form" in str(raised(Around("forward", steps)))


def test_other_errors_stay_as_they_are() -> None:
    assert str(raised(Around("forward", None, "extra_repr"))) == "it cannot be translated"
    assert str(raised(Around("forward"))) == "it cannot be translated"
