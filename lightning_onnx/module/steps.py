"""The steps of preprocessing and postprocessing one by one, to name the one that fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lightning_onnx.errors import ConfigurationError, first_line
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.fused import PREPROCESS, Around, Step


@dataclasses.dataclass(frozen=True)
class StepCall:
    """A step and what it gets.

    Attributes:
        number: Its number in the pipeline, from 1.
        step: The step.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
    """

    number: int
    step: Step
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]


def step_calls(part: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Iterator[StepCall]:
    """Yield each step before it runs, with what the steps before it made.

    Args:
        part: Preprocessing or postprocessing; a step that raises an exception ends the iteration with it.
        args: Positional arguments of the first step.
        kwargs: Its keyword arguments.
    """
    spreads = len(args) + len(kwargs) > 1  # torchvision's Compose passes on several values as several arguments
    for number, step in enumerate(steps_in(part), 1):
        yield StepCall(number, step, args, kwargs)
        value = step(*args, **kwargs)
        args, kwargs = (value if spreads and isinstance(value, tuple) else (value,)), {}


def steps_in(part: Step) -> Iterator[Step]:
    """Yield the steps of preprocessing or postprocessing: of a pipeline, its parts in order."""
    if not _is_pipeline(part):
        yield part
        return
    for step in part if isinstance(part, nn.Sequential) else getattr(part, "transforms", ()):
        yield from steps_in(step)


def _is_pipeline(part: Step) -> bool:
    """Tell whether a part runs its parts one after another: a Sequential or Compose that does not override this."""
    named = (kind for kind in type(part).__mro__ if kind is nn.Sequential or kind.__name__ == "Compose")
    owner = next(named, None)
    return owner is not None and all(
        getattr(type(part), name, None) is getattr(owner, name, None) for name in ("forward", "__call__")
    )


def check_steps(module: nn.Module, around: Around, observations: Sequence[Observation]) -> None:
    """Raise if preprocessing does not run on a raw sample, with the step that is the cause.

    Args:
        module: A private copy.
        around: What is around the method.
        observations: Ways in which raw inputs are given; the first is used.

    Raises:
        ConfigurationError: If a step raises an exception.
    """
    if not around.takes_raw_sample or not observations:
        return
    sample, whole = observations[0].samples[0], module.__dict__[PREPROCESS]
    with torch.no_grad():
        try:
            args, kwargs = sample.arguments(t.clone() for t in sample.tensors)
            whole(*args, **kwargs)
        except Exception as error:
            called, cause = "preprocess", error
            args, kwargs = sample.arguments(t.clone() for t in sample.tensors)
            try:
                for call in step_calls(whole, args, kwargs):
                    called = f"preprocess: step {call.number}, {described(call.step)},"
                called = "preprocess"  # each step runs by itself
            except Exception as own:
                cause = own
            raise ConfigurationError(
                f"{called} does not run on the sample ({first_line(cause)}). The steps in a graph take and return "
                "tensors: leave out those that take files or images of PIL, and give a sample of the tensors that "
                "follow them."
            ) from cause


def described(step: object) -> str:
    """Return a step's class with its settings, or the name of a function."""
    if isinstance(step, nn.Module) or not hasattr(step, "__name__"):
        text = " ".join(repr(step).split())
        return text if " at 0x" not in text else type(step).__name__
    return str(step.__name__)
