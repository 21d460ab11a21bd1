"""Calls are recorded as they were made, and the module is not changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_onnx import ConfigurationError
from lightning_onnx.module.calls.observer import ForwardObserver


class Takes(nn.Module):
    def forward(self, x: Any, mask: Any = None, *, mode: str = "a", **more: Any) -> Any:
        return x


def observed(module: nn.Module, *calls: Any, method: str = "forward") -> ForwardObserver:
    observer = ForwardObserver(module, method)
    observer.attach()
    for args, kwargs in calls:
        getattr(module, method)(*args, **kwargs) if method != "forward" else module(*args, **kwargs)
    observer.detach()
    return observer


def test_arguments_as_given() -> None:
    x, ids = torch.zeros(2, 3), torch.zeros(2)
    observer = observed(Takes().eval(), ((x,), {"mode": "b", "ids": ids}))
    (sample,) = observer.observations()[0].samples
    assert sample.paths == (("x",), ("ids",))
    args, kwargs = sample.arguments([x, ids])
    assert args[0] is x
    assert kwargs["mode"] == "b"
    assert kwargs["ids"] is ids


def test_method_is_put_back() -> None:
    module = Takes()
    observer = ForwardObserver(module)
    observer.attach()
    assert "forward" in module.__dict__
    observer.detach()
    assert "forward" not in module.__dict__


def test_eval_mode_defines_the_structure_and_training_adds_sizes() -> None:
    module = Takes()
    observer = ForwardObserver(module)
    observer.attach()
    module.train()
    module(torch.zeros(2, 9), targets=torch.zeros(2))
    module.eval()
    module(torch.zeros(2, 5))
    observer.detach()
    first = observer.observations()[0]
    assert first.source == "a call seen in evaluation mode"
    assert {shapes for shapes, _ in first.shapes} == {((2, 5),), ((2, 9),)}


def test_flags_make_another_structure_and_numbers_do_not() -> None:
    x = torch.zeros(2, 3)
    observer = observed(Takes().eval(), ((x,), {"mode": "a"}), ((x,), {"mode": "b"}), ((x,), {"mode": "b"}))
    assert [o.samples[0].arguments([x])[1]["mode"] for o in observer.observations()] == ["b", "a"]
    (found,) = observed(Takes().eval(), ((x,), {"step": 1}), ((x,), {"step": 2})).observations()
    assert found.varied == ("step (int)",)


def test_names_that_vary_in_training_are_told_and_numbers_there_are_not() -> None:
    module, x = Takes(), torch.zeros(2, 3)
    observer = ForwardObserver(module)
    observer.attach()
    for mode, step in (("a", 1), ("b", 2)):
        module(x, mode=mode, step=step)
    module.eval()
    module(x, mode="a", step=0)
    observer.detach()
    assert observer.observations()[0].varied == ("mode (str)",)


def test_tensors_that_other_calls_lack_are_counted() -> None:
    x, mask = torch.zeros(2, 3), torch.zeros(2)
    calls: list[Any] = [((x,), {}), ((x, mask), {}), ((x, mask), {}), ((x, mask), {})]
    with_mask, without = observed(Takes().eval(), *calls).observations()
    assert with_mask.lacking == ((("mask",), 1),)
    assert without.lacking == ()
    assert with_mask.others_have == ()
    assert without.others_have == ((("mask",), 3),)


def test_tensors_of_training_alone_are_not_missed_in_eval_mode() -> None:
    x, mask = torch.zeros(2, 3), torch.zeros(2)
    module = Takes()
    observer = ForwardObserver(module)
    observer.attach()
    module(x, mask)
    module.eval()
    module(x)
    observer.detach()
    assert observer.observations()[0].others_have == ()


def test_tensors_of_few_calls_are_kept_and_shapes_of_all() -> None:
    observer = observed(Takes().eval(), *(((torch.zeros(2, n),), {}) for n in range(1, 20)))
    (found,) = observer.observations()
    assert len(found.samples) == 3
    assert len(found.shapes) == 19


def test_kept_tensors_are_copies_outside_inference_mode() -> None:
    module, x = Takes().eval(), torch.zeros(2, 3)
    observer = ForwardObserver(module)
    observer.attach()
    with torch.inference_mode():
        module(torch.zeros(2, 3))
    module(x)
    observer.detach()
    (found,) = observer.observations()
    x += 1
    assert not found.samples[0].tensors[0].is_inference()
    assert found.samples[0].tensors[0].sum() == 0


def test_compiled_modules_are_not_recorded_and_compile_once() -> None:
    from torch._dynamo.testing import CompileCounter

    counter = CompileCounter()
    module = Takes().eval()
    module.compile(backend=counter, dynamic=True)
    observer = ForwardObserver(module)
    observer.attach()
    for _ in range(5):
        module(torch.zeros(2, 3))
    observer.detach()
    assert counter.frame_count <= 1
    assert observer.observations() == []


def test_other_methods() -> None:
    class Predicts(Takes):
        def predict(self, rows: Any) -> Any:
            return rows

    observer = observed(Predicts().eval(), ((torch.zeros(2),), {}), method="predict")
    assert observer.observations()[0].samples[0].paths == (("rows",),)


class Unreadable:
    """An argument whose attributes cannot be read."""

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        raise IndexError("no fields yet")


def test_what_could_not_be_recorded_is_kept_and_hides_no_other_call() -> None:
    module = Takes().eval()
    observer = observed(module, ((Unreadable(),), {}), ((torch.zeros(2, 3),), {}))
    assert observer.observations()[0].shapes == ((((2, 3),), None),)
    assert list(observer.problems) == ["a call of forward could not be recorded (IndexError: no fields yet)"]


def test_a_batch_that_cannot_be_recorded_matters_only_without_calls() -> None:
    observer = ForwardObserver(Takes())
    observer.see_batch(Unreadable(), 4)
    assert observer.batch_size == 4
    assert list(observer.problems) == ["a batch could not be recorded (IndexError: no fields yet)"]
    observer.attach()
    observer.module(torch.zeros(4, 3))
    observer.detach()
    assert observer.problems == {}


def test_without_a_batch_size_of_the_loader_the_first_dim_counts() -> None:
    observer = ForwardObserver(Takes())
    observer.see_batch({"scale": torch.tensor(1.0), "x": torch.zeros(5, 3)}, None)
    assert observer.batch_size == 5
    observer.see_batch(Unreadable(), None)
    assert observer.batch_size is None


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        (
            (
                [torch.zeros(3, 8, 8), torch.zeros(3, 6, 6)],
                [{"boxes": torch.zeros(1, 4)}, {"boxes": torch.zeros(5, 4)}],
            ),
            2,
        ),
        (([torch.zeros(3, 8), torch.zeros(3, 2)], torch.zeros(3)), 3),  # two inputs of a module
        ([torch.zeros(4, 8), torch.zeros(4)], 4),
        ({"targets": torch.zeros(4), "pair": [torch.zeros(4, 8), torch.zeros(4, 8)]}, 4),
    ],
)
def test_of_a_list_of_images_the_images_are_counted(batch: Any, expected: int) -> None:
    observer = ForwardObserver(Takes())
    observer.see_batch(batch, None)
    assert observer.batch_size == expected


def test_a_part_of_the_module_is_no_method() -> None:
    module = nn.Module()
    module.net = nn.Linear(4, 2)
    with pytest.raises(ConfigurationError, match=r"'net' is a part of Module and no method\..*export\(module\.net, "):
        ForwardObserver(module, "net")
