from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_onnx import ConfigurationError
from lightning_onnx.module.fused import METHOD, Around, arguments_of, called_by, check_part
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

    def pair(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        return x if other is None else x + other

    def several(self, *xs: Tensor) -> Tensor:
        return sum(xs, torch.zeros(()))

    def whole(self, batch: Any) -> Tensor:
        return batch[0]

    def unpacked(self, given: Any) -> Tensor:
        x, _ = given
        return x

    def decode(self, logits: Tensor) -> Tensor:
        return logits.argmax(1)


class Holder:
    def __init__(self) -> None:
        self.part = nn.Dropout()

    def __call__(self, x: Tensor) -> Tensor:
        return self.part(x)


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
        (Around("whole", "hook"), ([X, torch.zeros(3)], 0), X / 2),
        (Around("unpacked", "hook"), ([X, torch.zeros(3)], 0), X / 2),
        (Around("pair", lambda x: (x, x)), (X,), X * 2),
        (Around("several", lambda x: (x, x)), (X,), X * 2),
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


def test_objects_with_modules_are_copied_too() -> None:
    given, copied = Holder(), private_copy(Net())
    Around("forward", torchvision.transforms.Compose([given])).attach(copied)
    (own,) = copied.__dict__["preprocess_in_graph"].transforms
    assert given.part.training
    assert own is not given
    assert not own.part.training


def test_a_method_of_a_module_is_given_by_name() -> None:
    with pytest.raises(ConfigurationError, match=r"preprocess is the method embed of a Net.*: preprocess='embed'"):
        check_part("preprocess", Net().embed)


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

    assert arguments_of(prepared, inspect.signature(method), "required") == (args, kwargs)


def test_what_preprocessing_returns_is_passed_whole() -> None:
    def method(a: object, b: object = None) -> None: ...

    def any_number(*xs: object) -> None: ...

    assert arguments_of((1, 2), inspect.signature(method)) == ((1, 2), {})
    assert arguments_of((1, 2, 3), inspect.signature(any_number)) == ((1, 2, 3), {})


@pytest.mark.parametrize("part", [nn.ReLU, 5, "not a name", object()])
def test_invalid_parts(part: object) -> None:
    with pytest.raises(ConfigurationError, match="is neither a module, a function on tensors, nor the name"):
        check_part("preprocess", part)
