"""Calls that were not observed: a sample from the user, and batches matched to the method's signature."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.calls.batch_parts import STEPS
from lightning_onnx.module.calls.names import name_paths
from lightning_onnx.module.calls.nested import flatten
from lightning_onnx.module.calls.observation import KEPT_CALLS, Observation, Shapes
from lightning_onnx.module.calls.sample import Sample, make_sample, method_signature

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def match(
    signature: inspect.Signature, batches: list[tuple[Any, int | None]], source: str, method: str = "forward"
) -> list[Observation]:
    """Return the ways in which ``batches`` fit the signature, most likely first.

    A mapping is matched by name. Then follow matches by order: the required parameters get the batch's items, the items
    of its first item, or the whole batch. Calling the module shows which of them works.

    Args:
        signature: The signature of the exported method.
        batches: Batches of one loader, each with the loader's batch size, if known.
        source: Where the batches come from, for messages.
        method: Name of the method; Lightning calls its steps with the batch and indices, by position.
    """
    observations = []
    ways = [list(_ways(signature, batch, method)) for batch, _ in batches]
    for number in range(len(ways[0]) if ways else 0):
        samples: list[Sample] = []
        shapes: dict[tuple[Shapes, int | None], None] = {}
        remarks: tuple[str, ...] = ()
        for way, (batch, batch_size) in zip(ways, batches, strict=True):
            sample = _sample(signature, way[number]) if number < len(way) else None
            if sample is None or (samples and sample.paths != samples[0].paths):
                continue
            remarks = remarks or _not_taken(batch, way[number], method)
            found = tuple(tuple(t.shape) for t in sample.tensors), batch_size
            if found not in shapes and len(samples) < KEPT_CALLS:
                samples.append(sample)
            shapes[found] = None
        if samples:
            observations.append(Observation(tuple(samples), tuple(shapes), source, remarks=remarks, is_guess=True))
    return observations


def _not_taken(batch: object, arguments: Arguments, method: str) -> tuple[str, ...]:
    """Return a note that names the tensors of a batch that are not among the arguments."""
    taken = {id(tensor) for tensor in flatten(list(arguments))[1]}
    structure, tensors = flatten(batch)
    paths = [path for path, tensor in zip(structure.paths, tensors, strict=True) if id(tensor) not in taken]
    if not paths:
        return ()
    return (f"entries of the batch that {method} does not take: {', '.join(name_paths(paths, 'batch'))}",)


def _sample(signature: inspect.Signature, arguments: Arguments) -> Sample | None:
    try:
        sample = make_sample(signature, *arguments)
    except TypeError:
        return None
    return sample if sample.tensors else None


def _ways(signature: inspect.Signature, batch: object, method: str) -> Iterator[Arguments]:
    parameters = list(signature.parameters.values())
    wanted = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if method in STEPS:
        yield (batch, *([0] * (len(wanted) - 1))), {}
        return
    if isinstance(batch, Mapping):
        yield from _by_name(parameters, wanted, batch)
    values = _values(batch)
    needed = max(1, len(wanted))
    if values is not None:
        yield tuple(values[:needed]), {}
        inner = _values(values[0]) if values else None
        if inner is not None:
            yield tuple(inner[:needed]), {}
    tensors = flatten(batch)[1]
    if len(tensors) >= needed:
        yield tuple(tensors[:needed]), {}
    yield (batch,), {}


def _by_name(parameters: list[Any], wanted: list[Any], batch: Mapping[Any, Any]) -> Iterator[Arguments]:
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        yield (), {str(k): v for k, v in batch.items()}
    named = {p.name: batch[p.name] for p in parameters if p.name in batch}
    if named and all(p.name in named for p in wanted):
        yield (), named


def _values(batch: object) -> list[Any] | None:
    if isinstance(batch, Mapping):
        return list(batch.values())
    if isinstance(batch, (list, tuple)):
        return list(batch)
    return None


def as_call(sample: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Read a sample as Lightning reads ``example_input_array``: a tuple or dict of arguments, or one argument."""
    if isinstance(sample, tuple) and not hasattr(sample, "_fields"):
        return sample, {}
    if type(sample) is dict:
        return (), sample
    return (sample,), {}


def sample_of(module: nn.Module, method: str, call: tuple[tuple[Any, ...], dict[str, Any]]) -> Sample:
    """Bind a user's call to the method's signature.

    Raises:
        ConfigurationError: If the call does not fit the method, or the method does not exist.
    """
    signature = method_signature(module, method)
    try:
        return make_sample(signature, *call)
    except TypeError as error:
        raise ConfigurationError(
            f"the sample does not fit {type(module).__name__}.{method}{signature}: {error}. "
            "Give the arguments of one call."
        ) from error
