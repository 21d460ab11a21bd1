"""Trying the module: which of the observed calls runs, and at which sizes; what a graph is compared on."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from lightning_onnx.errors import SampleError, first_line
from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.calls.batch_dim import few_rows
from lightning_onnx.module.calls.observer import Observation
from lightning_onnx.module.calls.outputs import Outputs
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.resizing import kept_whole, pointed_at, resize
from lightning_onnx.module.calls.signature import BATCH
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import FlatModule

_CHECKED_ROWS = 4
"""Observed batches are cut to this many rows for checks: a batch of 256 images on the CPU would take minutes."""


class Runner:
    """Calls the module on flat tensors; None where it does not take them. Repeated questions run once."""

    def __init__(self, flat: FlatModule) -> None:
        self.flat = flat
        self.error: Exception | None = None
        self._known: dict[tuple[tuple[torch.Size, int], ...], Outputs] = {}

    def __call__(self, tensors: Sequence[Tensor]) -> Outputs | None:
        """Return the outputs on flat tensors, or None."""
        key = tuple((t.shape, hash(to_numpy(t).tobytes())) for t in tensors)
        if key not in self._known:
            try:
                self._known[key] = self.flat.outputs(tensors)
            except Exception as error:  # a module may refuse a size with any exception
                self.error = error
                return None
        return self._known[key]


def first_that_runs(
    module: nn.Module, method: str, observations: Sequence[Observation], exclude_inputs: Sequence[str] = ()
) -> tuple[Observation, Runner]:
    """Return the first observation whose call the module takes, labels left out where it works without them.

    Raises:
        SampleError: If it takes none.
    """
    refused: list[tuple[str, Exception]] = []
    for observation in observations:
        if not any(sample.tensors for sample in observation.samples):
            refused.append((observation.source, TypeError("no tensor among the arguments")))
            continue
        observation = _as_reference(observation)
        for candidate in (_without_excluded(observation, exclude_inputs), observation):
            if candidate is None:
                continue
            flat = FlatModule(module, method, candidate.samples[0])
            run = Runner(flat)
            if run(few_rows(candidate)) is not None or run(candidate.samples[0].tensors) is not None:
                return candidate, run
            assert run.error is not None
            refused.append((candidate.source, run.error))
    name = f"{type(module).__name__}.{method}"
    tried = "; ".join(f"{source} ({first_line(error)})" for source, error in refused) or "nothing was seen"
    raise SampleError(
        f"no call of {name} is known that runs on tensors. Tried: {tried}. "
        "Give the arguments of one call: sample=(...) to the callback, example_input_array to the module, or args and "
        "kwargs to export()."
    ) from (refused[0][1] if refused else None)


def _as_reference(observation: Observation) -> Observation:
    """The reference is in float32, so its inputs are, whatever precision the training had."""
    half = (torch.float16, torch.bfloat16)
    samples = tuple(
        dataclasses.replace(s, tensors=tuple(t.float() if t.dtype in half else t for t in s.tensors))
        for s in observation.samples
    )
    return dataclasses.replace(observation, samples=samples)


def _without_excluded(observation: Observation, excluded: Sequence[str]) -> Observation | None:
    """The observation without the inputs that are labels; None where it has none of them."""
    paths = observation.samples[0].paths
    kept = [i for i, path in enumerate(paths) if path[-1] not in excluded]
    if len(kept) == len(paths) or not kept:
        return None
    samples = tuple(s.without(lambda path: path[-1] in excluded) for s in observation.samples)
    if any(len(s.tensors) != len(kept) for s in samples):
        return None  # required, or part of something that has no keys
    shapes = tuple((tuple(shapes[i] for i in kept), size) for shapes, size in observation.shapes)
    dropped = [".".join(paths[i]) for i in range(len(paths)) if i not in kept]
    note = f"left out of the graph, because {'.'.join(dropped)} is in exclude_inputs: {', '.join(dropped)}"
    return dataclasses.replace(observation, samples=samples, shapes=shapes, notes=(*observation.notes, note))


# Sizes ---------------------------------------------------------------------------------------------------------------


def cases_of(request: Request, run: Runner) -> tuple[Case, ...]:
    """Inputs that the module takes, with its outputs: traced sizes, the observed calls, sizes not traced."""
    cases: dict[str, Case] = {}

    def add(kind: str, tensors: tuple[Tensor, ...]) -> bool:
        label = _label(kind, request, tensors)
        if any(same.partition(" ")[2] == label.partition(" ")[2] for same in cases):
            return True
        expected = run(tensors)
        if expected is not None:
            cases[label] = Case(label, tensors, expected.tensors)
        return expected is not None

    add("traced", request.tensors)
    traced = request.sizes(request.tensors)
    for sample in request.samples[1:]:  # other values at the traced sizes: what is wrong here is not about sizes
        tensors = resize(sample.tensors, request.axes, traced)
        only_rows = all(n == BATCH or size == traced[n] for n, size in request.sizes(sample.tensors).items())
        expected = run(tensors) if only_rows and request.fits(tensors) else None
        if expected is not None:
            cases[f"traced with values of call {len(cases) + 1}"] = Case(
                f"traced with values of call {len(cases) + 1}", tensors, expected.tensors
            )
    for sample in request.samples:
        tensors = _cut(sample.tensors, request)
        if request.fits(tensors):
            add("observed", tensors)
    for alternatives in probe_sizes(request):
        any(add("resized", request.resized(sizes)) for sizes in alternatives)
    return tuple(cases.values())


def _cut(tensors: Sequence[Tensor], request: Request) -> tuple[Tensor, ...]:
    sizes = request.sizes(tensors)
    if sizes.get(BATCH, 0) <= _CHECKED_ROWS or BATCH in kept_whole(tensors, request.axes):
        return tuple(t.contiguous() for t in tensors)
    return resize(tensors, request.axes, {BATCH: _CHECKED_ROWS})


def _label(kind: str, request: Request, tensors: Sequence[Tensor]) -> str:
    sizes = ", ".join(f"{name}={size}" for name, size in request.sizes(tensors).items())
    return f"{kind} ({sizes})" if sizes else kind


def multiples(request: Request, run: Runner) -> Iterator[str]:
    """Find dims of which the module takes multiples of a number alone, by calling it."""
    traced = request.sizes(request.tensors)
    for name, size in traced.items():
        if name == BATCH or run(request.resized(traced | {name: size + 1})) is not None:
            continue
        steps = (k for k in range(2, size + 1) if size % k == 0)
        step = next((k for k in steps if run(request.resized(traced | {name: size + k})) is not None), None)
        if step is not None:
            yield f"{name} is a multiple of {step}"


def probe_sizes(request: Request) -> Iterator[list[dict[str, int]]]:
    """Yield sizes at which a graph is to be tried, as lists of which the first that the module takes is enough.

    Each dim at unseen larger sizes, by the step that was observed (images of 64 and 96 are followed by 128) and by one;
    at 1; at smaller sizes; then all dims at once. A dim that another input points into becomes larger alone.
    """
    pointed = pointed_at(request.tensors, request.axes)
    traced = request.sizes(request.tensors)
    larger: dict[str, int] = {}
    for name in request.dims:
        if name == BATCH:
            larger[name] = 5 if traced[name] == 3 else max(3, traced[name] + 1)
            yield [traced | {name: larger[name]}]
        else:
            seen = sorted({*request.seen.get(name, ()), traced[name]})
            top = seen[-1]
            larger[name] = top + (math.gcd(*(b - a for a, b in itertools.pairwise(seen))) or top)
            smaller = (n for n in (top // 2, top - 1, top - 2) if n > 1)
            yield [traced | {name: n} for n in (larger[name], top * 2)]
            yield [traced | {name: n} for n in (top + 1, *(() if name in pointed else smaller))]
        if name not in pointed:
            yield [traced | {name: 1}]
    if len(request.dims) > 1:
        yield [larger]
        if request.dims[0] not in pointed:
            yield [larger | {request.dims[0]: 1}]
