"""Names the part of a call with preprocessing or postprocessing that does not run, or that has no ONNX form."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lightning_onnx.errors import ConfigurationError, EngineError, chain, first_line
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.fused import POSTPROCESS, PREPROCESS, Around, Step
from lightning_onnx.module.runner import Runner, first_that_runs
from lightning_onnx.module.steps import StepCall, described, refusing_part_named, step_calls
from lightning_onnx.pipeline.config import ExportConfig

log = logging.getLogger(__name__)


@contextlib.contextmanager
def failing_step_named(module: nn.Module, around: Around, observation: Observation) -> Iterator[None]:
    """Raise the error of an engine with the step that causes it, if one of the steps does.

    Args:
        module: A private copy with the method to trace.
        around: What is around the exported method.
        observation: Calls with raw inputs.

    Raises:
        EngineError: If the block raises one; it names the step if that is found.
    """
    try:
        yield
    except EngineError as error:
        if not around.takes_raw_sample and (around.postprocess is None or isinstance(around.postprocess, str)):
            raise
        named = None
        with contextlib.suppress(Exception):  # without the name of a step, it is the same error
            named = _failing(module, around, observation)
        if named is None:
            raise
        raise EngineError(
            f"{named}. Give a step that uses other operators of torch, or leave it to the caller. The whole: {error}"
        ) from error


def call_that_runs(
    module: nn.Module, observations: Sequence[Observation], config: ExportConfig
) -> tuple[Observation, Runner]:
    """Return the first of the calls that runs, see ``first_that_runs``; the error names the part that does not.

    Args:
        module: A private copy with the method to trace.
        observations: Ways in which it is called, best first.
        config: The options.

    Raises:
        SampleError: If none of them runs.
        ConfigurationError: If postprocessing is the cause.
    """
    with refusing_part_named(module, config.around, observations):
        return first_that_runs(module, config.traced_method, observations, config.exclude_inputs, named=config.method)


def no_tensor(module: nn.Module, config: ExportConfig) -> ConfigurationError:
    """Return the error for a graph without outputs."""
    what, advice = f"{type(module).__name__}.{config.method}", "Choose a method that returns tensors (method=...)"
    if config.around.postprocess is not None:
        what, advice = f"postprocess of the result of {what}", "Let it return tensors: class names are for labels=[...]"
    return ConfigurationError(f"{what} returns no tensor, so there is nothing to export. {advice}.")


def _failing(module: nn.Module, around: Around, observation: Observation) -> str | None:
    args, kwargs = observation.samples[0].arguments(observation.samples[0].tensors)
    with torch.no_grad():
        if around.takes_raw_sample:
            named = _untranslatable("preprocess", step_calls(module.__dict__[PREPROCESS], args, kwargs))
            if named is not None:
                return named
            args, kwargs = around.arguments(module, module.__dict__[PREPROCESS](*args, **kwargs))
        elif around.preprocess is not None:  # a method of the module, which is translated with it
            return None
        if POSTPROCESS not in module.__dict__:
            return None
        method = module if around.method == "forward" else getattr(module, around.method)
        value = method(*args, **kwargs)
        return _untranslatable("postprocess", step_calls(module.__dict__[POSTPROCESS], (value,), {}))


def _untranslatable(part: str, calls: Iterable[StepCall]) -> str | None:
    for call in calls:
        problem = _problem(call.step, call.args, call.kwargs)
        if problem is not None:
            return f"{part}: step {call.number}, {described(call.step)}, has no ONNX form ({problem})"
    return None


class _Function(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


def _problem(step: Step, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str | None:
    """Return why a step cannot be translated alone; None if it can."""
    part = step if isinstance(step, nn.Module) else _Function(step)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(part, args, kwargs=dict(kwargs), dynamo=True, optimize=False, verbose=False)
    except Exception as error:
        return first_line(chain(error)[-1])
    return None
