"""Notes on arguments and results that are not in the graph: nothing is left out silently."""

from __future__ import annotations

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
