"""Notes on arguments and results that are not in the graph: nothing is left out silently."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.outputs import name_others
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.runner import Runner


def outputs(run: Runner, request: Request) -> list[str]:
    """Return a note that names the values of the method's result that are not tensors.

    Args:
        run: Runs the module.
        request: The requested graph.
    """
    found = run(request.tensors)
    if found is None or not found.left_out:
        return []
    return [f"left out of the outputs, because a graph returns only tensors: {', '.join(found.left_out)}"]


def constants(request: Request) -> list[str]:
    """Return a remark that names the arguments that are not tensors: their values are constants of the graph.

    Args:
        request: The requested graph.
    """
    named = name_others(request.sample.others, "input")
    return [f"kept as constants of the graph, because they are not tensors: {', '.join(named)}"] if named else []


def calls(
    notes: Iterable[str], observations: Sequence[Observation], request: Request, excluded: Collection[str] = ()
) -> tuple[str, ...]:
    """Return notes with those on calls that the file is not for.

    Args:
        notes: The notes so far; earlier ones on such calls are replaced.
        observations: The calls so far, that of the graph first.
        request: The requested graph.
        excluded: Names of inputs that are left out on purpose.
    """
    others = tuple(note for note in notes if not note.startswith((_VARIED, _LACKING, _OTHERS_HAVE)))
    found = [
        note
        for each in observations[:1]
        for note in (*_varied(each), *_lacking(each, request), *_others_have(each, excluded))
    ]
    return (*others, *found)


_VARIED = "arguments that are not tensors had other values in other calls"

_LACKING = "the graph always takes "

_OTHERS_HAVE = "the graph does not take "


def _varied(observation: Observation) -> Iterator[str]:
    """Yield a note on arguments that are not tensors and had several values: the file is for one of them."""
    if observation.varied:
        yield f"{_VARIED}: {', '.join(observation.varied)}; the graph computes with those of the traced call"


def _lacking(observation: Observation, request: Request) -> Iterator[str]:
    """Yield a note on inputs that other calls lacked; not on items of lists, whose number is told elsewhere."""
    names = dict(zip(request.sample.paths, request.input_names, strict=True))
    for path, count in observation.lacking:
        if path in names and not path[-1].isdigit():
            yield f"{_LACKING}'{names[path]}', which {count} observed call{'s' * (count > 1)} lacked"


def _others_have(observation: Observation, excluded: Collection[str]) -> Iterator[str]:
    """Yield a note on optional inputs that other calls had: the file answers as if they were never given."""
    for path, count in observation.others_have:
        if not path[-1].isdigit() and not any(part in excluded for part in path):
            yield f"{_OTHERS_HAVE}'{'.'.join(path)}', which {count} observed call{'s' * (count > 1)} had"
