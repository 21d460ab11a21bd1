"""Names that a method's source gives to parts of its argument; no name where the source leaves a doubt."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lightning_onnx.module.calls.part_names import part_names


class Steps(nn.Module):
    """Methods with the names that they give to the parts of ``batch``, by index."""

    def forward(self, image: Any, mask: Any = None) -> Any:
        return image

    def unpacks(self, batch: Any) -> Any:
        x, y = batch
        return x, y

    def unpacks_inner_tuples(self, batch: Any) -> Any:
        (left, right), y = batch
        return left, right, y

    def unpacks_in_turns(self, batch: Any) -> Any:
        x, _ = batch
        ids, mask = x
        return ids, mask

    def takes_an_item(self, batch: Any) -> Any:
        x: Any = batch[0]
        renamed = x
        x = x.float()
        return renamed, x

    @torch.no_grad()
    def takes_the_rest(self, batch: Any) -> Any:
        with torch.enable_grad():
            x, *rest = batch
        return x, rest

    def reads_under_a_key(self, batch: Any) -> Any:
        low, high = batch["pair"]
        return low, high

    def passes_an_item_on(self, batch: Any) -> Any:
        return self(batch[0])

    def passes_all_on(self, batch: Any) -> Any:
        return self(*batch)

    def asks_another(self, batch: Any) -> Any:
        return self.shared("test", batch=batch)

    def shared(self, stage: str, batch: Any) -> Any:
        x, y = batch
        return x, y, stage

    def agrees_in_branches(self, batch: Any) -> Any:
        if self.training:
            x, y = batch
        else:
            x = batch[0]
            y = None
        return x, y

    def has_two_names(self, batch: Any) -> Any:
        if len(batch) == 2:
            x, y = batch
        else:
            x, mask, y = batch
        return x, y, mask

    def takes_another_batch(self, batch: Any) -> Any:
        batch = batch[::-1]
        x, y = batch
        return x, y

    def may_take_another_batch(self, batch: Any) -> Any:
        if self.training:
            batch = batch[::-1]
        x, y = batch
        return x, y

    def removes_an_item(self, batch: Any) -> Any:
        y = batch.pop(0)
        x = batch[0]
        return x, y

    def counts_from_the_end(self, batch: Any) -> Any:
        *x, y = batch
        last = batch[-1]
        return x, y, last

    def has_variables_in_a_list(self, batch: Any) -> Any:
        x = batch[0]
        return [self(x[0]) for x in x]

    def calls_itself(self, batch: Any) -> Any:
        x, _ = batch
        return self.calls_itself(batch) if x else None

    def matches(self, batch: Any) -> Any:
        match batch:
            case [x, y]:
                return x, y
        x = batch[1]
        return x

    is_no_function = 3


class Below(Steps):
    def unpacks(self, batch: Any) -> Any:
        return super().unpacks(batch)


@pytest.mark.parametrize(
    ("method", "names"),
    [
        ("unpacks", {"0": "x", "1": "y"}),
        ("unpacks_inner_tuples", {"0.0": "left", "0.1": "right", "1": "y"}),
        ("unpacks_in_turns", {"0": "x", "0.0": "ids", "0.1": "mask"}),
        ("takes_an_item", {"0": "x"}),
        ("takes_the_rest", {"0": "x"}),
        ("reads_under_a_key", {"pair.0": "low", "pair.1": "high"}),
        ("passes_an_item_on", {"0": "image"}),
        ("passes_all_on", {"0": "image", "1": "mask"}),
        ("asks_another", {"0": "x", "1": "y"}),
        ("agrees_in_branches", {"0": "x", "1": "y"}),
        ("has_two_names", {"0": "x", "2": "y"}),
        ("takes_another_batch", {}),
        ("may_take_another_batch", {}),
        ("removes_an_item", {}),
        ("counts_from_the_end", {}),
        ("has_variables_in_a_list", {"0": "x"}),
        ("calls_itself", {"0": "x"}),
        ("matches", {"1": "x"}),
        ("is_no_function", {}),
        ("absent", {}),
    ],
)
@pytest.mark.parametrize("kind", [Steps, Below])
def test_names_of_parts(kind: type[nn.Module], method: str, names: dict[str, str]) -> None:
    found = part_names(kind(), method, {"batch": ("batch",)})
    assert {".".join(path[1:]): name for path, name in found.items()} == names


def test_code_without_source_gives_no_names() -> None:
    scope: dict[str, Any] = {}
    exec("def predict_step(self, batch):\n    x, y = batch\n    return x", scope)
    made = type("Made", (nn.Module,), {"predict_step": scope["predict_step"]})
    assert part_names(made(), "predict_step", {"batch": ("batch",)}) == {}


def test_a_lambda_gives_no_names() -> None:
    made = type("Made", (nn.Module,), {"predict_step": lambda self, batch: self(batch[0])})
    assert part_names(made(), "predict_step", {"batch": ("batch",)}) == {}


def test_parts_of_several_arguments() -> None:
    class Steps(nn.Module):
        def predict_step(self, *args: Any) -> Any:
            batch = args[0]
            x, y = batch
            return x, y

    assert part_names(Steps(), "predict_step", {"args": ("args",)}) == {
        ("args", "0"): "batch", ("args", "0", "0"): "x", ("args", "0", "1"): "y",
    }  # fmt: skip
