"""Observations of small modules, and functions that run them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.observer import ForwardObserver
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.runner import Runner


def observed(module: nn.Module, *calls: tuple[Tensor, ...], batch_sizes: tuple[int, ...] = ()) -> Observation:
    """Return the observation of calls in eval mode, each with a loader's batch size, if given."""
    observer = ForwardObserver(module.eval())
    observer.attach()
    for number, tensors in enumerate(calls):
        if batch_sizes:
            observer.see_batch(list(tensors), batch_sizes[number])
        module(*tensors)
    observer.detach()
    return observer.observations()[0]


def runner_of(module: nn.Module, observation: Observation) -> Runner:
    """Return a function that runs the module on the tensors of the observed calls."""
    return Runner(FlatModule(module, "forward", observation.samples[0]))


class Applies(nn.Module):
    """Calls a function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)
