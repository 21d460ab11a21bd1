"""The steps of preprocessing and postprocessing one by one, to name the one that fails."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lightning_onnx.errors import ConfigurationError, SampleError, first_line
from lightning_onnx.module.calls.nested import flatten_result
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.sample import Sample
from lightning_onnx.module.fused import POSTPROCESS, PREPROCESS, Around, Step
from lightning_onnx.module.user_code import with_line


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


@contextlib.contextmanager
def refusing_part_named(module: nn.Module, around: Around, observations: Sequence[Observation]) -> Iterator[None]:
    """Raise the error of a call that does not run with the part that is the cause, if it is found.

    Args:
        module: A private copy with the method to trace.
        around: What is around the exported method.
        observations: Ways in which the method to trace is called; the first is used.

    Raises:
        SampleError: If the block raises one; it is of the same class.
        ConfigurationError: If postprocessing does not run on what the method returns.
    """
    try:
        yield
    except SampleError as error:
        if around.is_empty or not observations:
            raise
        found = None
        with contextlib.suppress(Exception), torch.no_grad():  # without the name of a part, it is the same error
            found = _refusing(module, around, observations[0].samples[0], type(error))
        if found is None:
            raise
        raise found from found.__cause__


def _refusing(
    module: nn.Module, around: Around, sample: Sample, kind: type[SampleError]
) -> SampleError | ConfigurationError | None:
    """Run the parts of the method to trace one by one; return the error for the one that fails, None if none does."""
    args, kwargs = sample.arguments(t.clone() for t in sample.tensors)
    name = f"{type(module).__name__}.{around.method}"
    taken = "the sample"
    if around.preprocess is not None:
        step = getattr(module, around.preprocess if isinstance(around.preprocess, str) else PREPROCESS)
        args, kwargs = around.arguments(module, step(*args, **kwargs))
        taken = f"what preprocess makes of the sample, {_sizes((args, kwargs))}"
    method = module if around.method == "forward" else getattr(module, around.method)
    try:
        result = method(*args, **kwargs)
    except Exception as cause:
        if around.preprocess is None:
            return None
        made = kind(f"{name} does not take {taken} ({with_line(cause)}). Correct preprocess or the sample.")
        made.__cause__ = cause
        return made
    if around.postprocess is None or not flatten_result(result)[1]:
        return None
    part = getattr(module, around.postprocess if isinstance(around.postprocess, str) else POSTPROCESS)
    called = "postprocess"
    try:
        for call in step_calls(part, (result,), {}):
            called = f"postprocess: step {call.number}, {described(call.step)},"
    except Exception as cause:
        refused = ConfigurationError(
            f"{called} does not run on what {name} returns, {_sizes(result)} ({with_line(cause)}). Give a function or "
            "module that takes this as its only argument and returns tensors."
        )
        refused.__cause__ = cause
        return refused
    return None


def _sizes(value: object) -> str:
    """Return dtypes and shapes of the tensors in a value."""
    tensors = flatten_result(value)[1]
    return ", ".join(f"{str(t.dtype).removeprefix('torch.')}{list(t.shape)}" for t in tensors) or "no tensor"


def described(step: object) -> str:
    """Return a step's class with its settings, or the name of a function."""
    if isinstance(step, nn.Module) or not hasattr(step, "__name__"):
        text = _on_one_line(repr(step))
        return text if " at 0x" not in text else type(step).__name__
    return str(step.__name__)


def _on_one_line(text: str) -> str:
    """Return a text on one line; parts that had lines of their own are separated by commas."""
    whole = ""
    for line in (" ".join(line.split()) for line in text.splitlines() if line.strip()):
        joined = not whole or whole[-1] in "([{" or line[0] in ")]}"
        whole += line if joined else f" {line}" if whole[-1] in ",:" else f", {line}"
    return whole.replace("( ", "(").replace(" )", ")")
