"""Notes on inputs that should be left out: those that ``exclude_inputs`` names, and targets of the training."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence

from torch import nn

from lightning_onnx.errors import ConfigurationError, did_you_mean
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.excluded import EXCLUDED_BY_DEFAULT
from lightning_onnx.module.influence import changed_outputs
from lightning_onnx.module.runner import Runner
from lightning_onnx.pipeline.config import ExportConfig

_TARGET = re.compile(r"(?:^|_)(?:targets?|labels?|gt|ground_truth|y|y_true)$")


def check_excluded(module: nn.Module, observations: Sequence[Observation], config: ExportConfig) -> None:
    """Raise if a name in ``exclude_inputs`` is that of an input but for a typing error.

    A name that is like none is left to a note: the calls that have such an input may be yet to come.

    Args:
        module: The module.
        observations: The ways in which the method is called.
        config: The options.

    Raises:
        ConfigurationError: If that is so.
    """
    known = _known(observations)
    others = [other for other in known if other not in config.exclude_inputs]
    taken = {*EXCLUDED_BY_DEFAULT, *known, *_parameters(module)}
    for name in dict.fromkeys(config.exclude_inputs):
        near = did_you_mean(name, others)
        if name not in taken and near != ".":
            raise ConfigurationError(
                f"exclude_inputs has {name!r}, but no call of {type(module).__name__}.{config.method} has such an input"
                f"{near} Its calls have {', '.join(known)}."
            )


def _parameters(module: nn.Module) -> Iterator[str]:
    """Yield the names of the parameters of all methods: of several, each gets the same ``exclude_inputs``."""
    for value in (value for kind in type(module).__mro__ for value in vars(kind).values()):
        if inspect.isfunction(value):
            yield from value.__code__.co_varnames[: value.__code__.co_argcount + value.__code__.co_kwonlyargcount]


def notes_on(observations: Sequence[Observation], run: Runner, request: Request, config: ExportConfig) -> Iterator[str]:
    """Yield notes on names in ``exclude_inputs`` without an effect, and on inputs that only a loss depends on.

    Args:
        observations: The ways in which the method is called, with all inputs.
        run: Runs the module.
        request: The requested graph.
        config: The options.
    """
    named = list(zip(request.sample.paths, request.input_names, strict=True))
    kept = {part: name for path, name in named for part in path}
    method = f"{type(run.flat.module).__name__}.{config.method}"
    asked = [name for name in dict.fromkeys(config.exclude_inputs) if name not in EXCLUDED_BY_DEFAULT]
    known = _known(observations)
    for name in asked:
        if name in kept:
            yield (
                f"exclude_inputs has {name!r}, but {method} does not run without it, so {kept[name]!r} stays an input. "
                f"Give a parameter a default value; read an entry only if it is there (if {name!r} in batch)"
            )
        elif name not in known:
            yield (
                f"exclude_inputs has {name!r}, but no call of {method} has such an input"
                f"{did_you_mean(name, known)} The inputs are {', '.join(path[-1] for path, _ in named)}"
            )
    for place, losses in _targets(run, request):
        name = request.sample.paths[place][-1]
        if name not in asked:
            yield (
                f"input {request.input_names[place]!r} changes only {', '.join(losses)}, as the target of a loss does, "
                f"and the file needs it. Leave it out by exclude_inputs=({name!r},), if {method} runs without it"
            )


def _known(observations: Sequence[Observation]) -> list[str]:
    """Return the names of parameters, and of all parts of arguments."""
    found: dict[str, None] = {}
    for observation in observations:
        for sample in observation.samples:
            paths = (*sample.paths, *(path for path, _ in sample.others))
            found |= dict.fromkeys(part for path in paths for part in path)
            found |= dict.fromkeys(sample.signature.parameters)
    return list(found)


def _targets(run: Runner, request: Request) -> Iterator[tuple[int, list[str]]]:
    """Yield the index of each input that changes only numbers of the whole batch, with the names of these outputs."""
    outputs = run(request.tensors)
    tensors = () if outputs is None else outputs.tensors
    losses = {i for i, tensor in enumerate(tensors) if tensor.dim() == 0 and tensor.is_floating_point()}
    if not losses or len(request.input_names) == 1:
        return
    for place, path in enumerate(request.sample.paths):
        changed = changed_outputs(run, request, place)
        if changed and changed <= losses and (len(losses) < len(tensors) or _TARGET.search(path[-1])):
            yield place, [repr(request.output_names[i]) for i in sorted(changed)]
