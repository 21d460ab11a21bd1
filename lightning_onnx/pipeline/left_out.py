"""What a graph does not take or give, in sentences: nothing is left out in silence."""

from __future__ import annotations

from lightning_onnx.module.calls.outputs import name_others
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.runner import Runner


def outputs(run: Runner, request: Request) -> list[str]:
    """Return a note that names what the method's result holds besides tensors.

    Args:
        run: Runs the module.
        request: What the graph is to be.
    """
    found = run(request.tensors)
    if found is None or not found.left_out:
        return []
    return [f"left out of the outputs, because a graph gives tensors only: {', '.join(found.left_out)}"]


def constants(request: Request) -> list[str]:
    """Return a remark that names the arguments that are not tensors: their values are part of the graph.

    Args:
        request: What the graph is to be.
    """
    named = name_others(request.sample.others, "input")
    return [f"kept as constants of the graph, because they are not tensors: {', '.join(named)}"] if named else []
