from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_onnx import ConfigurationError
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.fused import METHOD, Around, arguments_of, called_by, check_part, check_steps, steps_in
from lightning_onnx.module.reach import Reach
from lightning_onnx.module.weights.copying import private_copy


class Net(nn.Module):
    scale = 3.0

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def embed(self, x: Tensor) -> Tensor:
        return x * self.scale

    def hook(self, batch: Any, dataloader_idx: int) -> Any:
        return [batch[0] / 2, batch[1]]

    def decode(self, logits: Tensor) -> Tensor:
        return logits.argmax(1)


def answer(around: Around, *args: Any) -> Any:
    module = private_copy(Net())
    module.load_state_dict(STATE)
    around.attach(module)
    return getattr(module, around.traced_method)(*args)


torch.manual_seed(0)
STATE = Net().state_dict()
X = torch.arange(12.0).reshape(3, 4)


def logits(x: Tensor) -> Tensor:
    return nn.functional.linear(x, STATE["net.weight"], STATE["net.bias"])


def halved(x: Tensor) -> Tensor:
    return x / 2


@pytest.mark.parametrize(
    ("around", "args", "expected"),
    [
        (Around("forward"), (X,), logits(X)),
        (Around("forward", halved), (X,), logits(X / 2)),
        (Around("forward", nn.ReLU(), nn.Softmax(1)), (X - 5,), logits((X - 5).relu()).softmax(1)),
        (Around("forward", None, "decode"), (X,), logits(X).argmax(1)),
        (Around("forward", "hook", "decode"), ([X, torch.zeros(3)], 0), logits(X / 2).argmax(1)),
        (Around("embed", halved), (X,), X * 1.5),
        (Around("forward", lambda x, y: {"x": x + y, "other": y}), (X, X), logits(X + X)),
    ],
)
def test_the_method_is_the_composition(around: Around, args: tuple[Any, ...], expected: Tensor) -> None:
    assert torch.allclose(answer(around, *args), expected)


def test_the_given_module_is_not_changed_and_weights_keep_their_names() -> None:
    given, copied = nn.Sequential(nn.Dropout(), nn.Linear(4, 4)), private_copy(Net())
    around = Around("forward", given)
    around.attach(copied)
    around.attach(copied)
    assert given.training
    assert given[1].weight.requires_grad
    assert set(copied.state_dict()) == {"net.weight", "net.bias"}
    assert not copied.__dict__["preprocess_in_graph"].training


def test_signatures() -> None:
    def named(images: Tensor) -> Tensor:
        return images

    module = Net()
    assert list(Around("forward", named).signature(module).parameters) == ["images"]
    assert list(Around("forward", v2.Compose([nn.Identity()])).signature(module).parameters) == ["input"]
    assert list(Around("forward", torch.relu).signature(module).parameters) == ["input"]
    assert list(Around("forward", "hook").signature(module).parameters) == ["batch", "dataloader_idx"]
    assert list(Around("forward", None, halved).signature(module).parameters) == ["x"]
    with pytest.raises(ConfigurationError, match="the sample does not fit preprocess"):
        Around("forward", named).sample(module, ((X, X), {}))


def test_what_the_method_calls_is_known_to_a_search_of_the_code() -> None:
    copied = private_copy(Net())
    Around("embed", "hook", "decode").attach(copied)
    assert {"embed", "hook", "decode"} <= called_by(copied, METHOD)
    assert called_by(copied, "forward") == frozenset()
    names = {function.__name__ for function in Reach(copied, METHOD).functions}
    assert {"embed", "hook", "decode"} <= names


@pytest.mark.parametrize(
    ("prepared", "args", "kwargs"),
    [
        (1, (1,), {}),
        ((1, 2, 3), (1, 2), {}),
        ([1], (1,), {}),
        ({"a": 1, "b": 2, "z": 3}, (), {"a": 1, "b": 2}),
        ({"a": 1}, ({"a": 1},), {}),
    ],
)
def test_arguments(prepared: object, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    def method(a: object, b: object, c: object = None) -> None: ...

    assert arguments_of(prepared, inspect.signature(method)) == (args, kwargs)


@pytest.mark.parametrize("part", [nn.ReLU, 5, "not a name", object()])
def test_invalid_parts(part: object) -> None:
    with pytest.raises(ConfigurationError, match="is neither a module, a function on tensors, nor the name"):
        check_part("preprocess", part)


def test_steps_are_those_of_pipelines() -> None:
    steps = v2.Compose([nn.Sequential(nn.ReLU(), nn.Tanh()), halved])
    assert [type(step).__name__ for step in steps_in(steps)] == ["ReLU", "Tanh", "function"]


def test_the_step_that_does_not_run_is_named() -> None:
    copied = private_copy(Net())
    around = Around("forward", v2.Compose([v2.ToImage(), v2.Resize(4), v2.ToPILImage(), v2.RandomCrop(99)]))
    around.attach(copied)
    image = torch.zeros(1, 3, 5, 5, dtype=torch.uint8)
    with pytest.raises(ConfigurationError, match=r"preprocess: step 3, ToPILImage\(.*\), does not run on the sample"):
        check_steps(copied, around, [Observation.of(around.sample(copied, ((image,), {})), "a test")])
