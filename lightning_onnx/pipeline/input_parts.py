"""Which parts of arguments are inputs: those that the graph uses, or all of them where each has a given name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeGuard

from lightning_onnx.module.calls.names import InputNames, wrong_number
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.influence import changed_outputs
from lightning_onnx.module.runner import Runner
from lightning_onnx.pipeline.config import ExportConfig


def part_names(observation: Observation) -> list[str]:
    """Return the name of each part of the arguments that is a tensor: its keys, joined by dots."""
    return [".".join(path) for path in observation.samples[0].structure.paths]


def keeps_all(observation: Observation, config: ExportConfig) -> bool:
    """Tell whether nothing can be left out: each input has a given name, or each argument is a tensor."""
    paths = observation.samples[0].paths
    return not _may_leave_out(paths, config) or all(len(path) == 1 for path in paths)


def is_whole(names: InputNames | None) -> TypeGuard[Sequence[str]]:
    """Tell whether given names are a list, which has one for each input; a mapping has those of some."""
    return names is not None and not isinstance(names, Mapping)


def are_fewer(names: InputNames | None, inputs: Sequence[object]) -> TypeGuard[Sequence[str]]:
    """Tell whether a list of names has fewer than inputs: they are those of the inputs that the graph uses."""
    return is_whole(names) and len(names) < len(inputs)


def _may_leave_out(inputs: Sequence[object], config: ExportConfig) -> bool:
    return not is_whole(config.input_names) or are_fewer(config.input_names, inputs)


def unused_parts(
    indices: Iterable[int], observation: Observation, config: ExportConfig, needed: Collection[str] = ()
) -> dict[int, str]:
    """Return the names of unused parts of arguments that can be left out, such as the labels of a batch, by index.

    An argument that is itself a tensor stays an input, used or not; so does a part that ``input_names`` names.

    Args:
        indices: The unused inputs.
        observation: The calls.
        config: The options.
        needed: Names of parts that some call needs.
    """
    names, paths = part_names(observation), observation.samples[0].paths
    named = set(config.input_names or ())
    found = {
        i: names[i]
        for i in indices
        if len(paths[i]) > 1 and names[i] not in needed and not named & {names[i], "_".join(paths[i]), paths[i][-1]}
    }
    return found if len(found) < len(names) and _may_leave_out(names, config) else {}


def check_number_of_names(run: Runner, request: Request, unread: Collection[int], config: ExportConfig) -> None:
    """Raise, before a graph is searched, if more inputs change the outputs than there are names.

    Args:
        run: Runs the module.
        request: The requested graph, with all inputs.
        unread: Indices of the inputs that no call reads.
        config: The options.

    Raises:
        ConfigurationError: If that is so.
    """
    names = config.input_names
    if not are_fewer(names, request.input_names):
        return
    changing = [i for i in range(len(request.input_names)) if i not in unread and changed_outputs(run, request, i)]
    if len(changing) > len(names):
        kept = [name for i, name in enumerate(request.input_names) if i not in unread]
        raise wrong_number("input", names, kept, [name for name in request.input_names if name not in kept])
