"""The notes of a plan: what a user should know of the graph."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from lightning_onnx.checks.noise import differing_when_redrawn
from lightning_onnx.module.call_state import attribute_names
from lightning_onnx.module.calls.batch_dim import lists_of_batch_size, static_batch_dims
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.runner import Runner
from lightning_onnx.module.saved import Place
from lightning_onnx.module.weights import leftover
from lightning_onnx.pipeline import left_out
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.search import FoundGraph
from lightning_onnx.tracing.graph import Graph


def notes_of(
    observation: Observation,
    run: Runner,
    request: Request,
    found: FoundGraph,
    kept_state: Sequence[Place],
    left_names: Sequence[str],
    config: ExportConfig,
) -> Iterator[str]:
    """Yield what a user should know of the graph, in the order of the stages that found it."""
    graph = found.graph
    yield from observation.notes
    if left_names:
        yield f"left out of the graph, which does not use it: {', '.join(left_names)}"
    yield from left_out.outputs(run, request)
    yield from _random_outputs(run, request)
    if found.decisions.warning:
        yield found.decisions.warning
    began = leftover.begins_as_none(run.flat.module, kept_state)
    if began:
        yield (
            f"the method keeps state between calls ({attribute_names(began)}); the graph begins without it, as the "
            "module does before its first call"
        )
    left = [place for place in kept_state if place not in began]
    if left:
        yield (
            f"the method keeps state between calls ({attribute_names(left)}); the graph contains the state that "
            "the module had when it was traced, such as after the last training batch"
        )
    yield from found.notes
    yield from _static_batch(observation, request, graph, config)
    for i in graph.traced.unused_inputs:
        yield f"input '{graph.request.input_names[i]}' has no effect on the outputs"


def _random_outputs(run: Runner, request: Request) -> Iterator[str]:
    """Yield a note if the method draws random numbers that change its outputs."""
    first = run(request.tensors) if run.flat.has_drawn else None
    if first is None:
        return
    redrawn = functools.partial(run.flat.redrawn, request.tensors)
    found = differing_when_redrawn(request.output_names, first.tensors, redrawn)
    if found:
        yield (
            f"the module draws random numbers in eval mode, so that {list(found)} cannot be compared; the file draws "
            "numbers of its own, or keeps those of the traced call where numpy or Python draws them"
        )


def _static_batch(observation: Observation, request: Request, graph: Graph, config: ExportConfig) -> Iterator[str]:
    """Yield notes on static dims that look like the batch; the search has its own notes on requested dims."""
    for name, length in lists_of_batch_size(observation).items():
        yield f"'{name}' is a list with a tensor for each row of the loader's batch: the graph takes exactly {length}"
    if config.dynamic_axes != "auto":
        return
    for i, d, factor in static_batch_dims(observation, graph.request.axes):
        if d not in request.axes[i]:
            multiple = "the loader's batch size" if factor == 1 else f"{factor} times the loader's batch size"
            yield (
                f"dim {d} of input '{request.input_names[i]}' is static: it has {multiple} "
                f"({request.tensors[i].shape[d]}), and the module took no other size that was tried"
            )
