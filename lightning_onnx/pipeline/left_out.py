"""Notes on arguments and results that are not in the graph: nothing is left out silently."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

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


def varied(notes: Iterable[str], observations: Sequence[Observation]) -> tuple[str, ...]:
    """Return notes with the one on arguments that are not tensors and had several values: the file is for one of them.

    Args:
        notes: The notes so far; an earlier one on such arguments is replaced.
        observations: The calls so far, that of the graph first.
    """
    named = [name for observation in observations[:1] for name in observation.varied]
    others = tuple(note for note in notes if not note.startswith(_VARIED))
    if not named:
        return others
    return (*others, f"{_VARIED}: {', '.join(named)}; the graph computes with those of the traced call")


_VARIED = "arguments that are not tensors had other values in other calls"
