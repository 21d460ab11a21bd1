"""What to do about a module that cannot be exported: options are advised only if they helped when tried."""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import nn

from lightning_onnx.checks.parity import Parity
from lightning_onnx.errors import EngineError
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.runner import Runner
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.pipeline.candidate import Candidate, try_engine
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.traced_file import Mismatch, find_mismatches
from lightning_onnx.tracing.base import Engine
from lightning_onnx.tracing.engines import ENGINES, order

log = logging.getLogger(__name__)

_LARGEST_ATOL = 0.01
"""A larger difference, as a share of the output's scale, is an error and no rounding."""

_NOISE = 0.05
"""Change of the weights, as a share of their standard deviation, that separates scores which are equal by chance."""


def for_refusal(run: Runner, request: Request, config: ExportConfig) -> str:
    """Return a sentence with an option with which the module can be exported; empty if none was found.

    Args:
        run: Runs the module.
        request: The request that no engine translates.
        config: The options.
    """
    return _first(functools.partial(_tried, run, change) for change in _changes(request, config))


def for_wrong_graph(candidate: Candidate, mismatch: Mismatch, run: Runner, config: ExportConfig) -> str:
    """Return a sentence with an option with which the graph is right, or may become so; empty if none was found.

    Args:
        candidate: The best graph.
        mismatch: Where it is wrong.
        run: Runs the module.
        config: The options.
    """
    return _first(
        (
            functools.partial(_tolerance, candidate, mismatch, run, config),
            functools.partial(_other_weights, candidate, mismatch, run, config),
            functools.partial(for_refusal, run, candidate.graph.request, config),
        )
    )


def for_static_dims(dims: Sequence[str], engine: Engine, run: Runner, request: Request, config: ExportConfig) -> str:
    """Return a sentence that advises to leave out dynamic axes, if the graph is right without them; else empty.

    Args:
        dims: The dims that cannot be dynamic.
        engine: The engine with the best graph.
        run: Runs the module.
        request: The request with these dims.
        config: The options.
    """
    said = "Leave these axes out, or change that line of the module."
    return _first([functools.partial(_tried, run, _Change(said, request.static(dims), config, (engine,)))])


@dataclasses.dataclass(frozen=True)
class _Change:
    """An option to try.

    Attributes:
        said: The advice, if it helps.
        request: The request with it.
        config: The options with it.
        engines: The engines to try.
    """

    said: str
    request: Request
    config: ExportConfig
    engines: Sequence[Engine]


def _first(tries: Iterable[Callable[[], str]]) -> str:
    """Return the first advice; an exception means that there is none, and hides no error that advice is sought for."""
    for attempt in tries:
        try:
            said = attempt()
        except Exception:
            log.debug("no advice", exc_info=True)
            continue
        if said:
            return said
    return ""


def _changes(request: Request, config: ExportConfig) -> Iterator[_Change]:
    options = config.export_options or ()
    given = order(config.engine, config.opset, options)
    for name in ENGINES:
        if config.engine not in ("auto", name):
            engines = [engine for engine in order(name, config.opset, options) if engine not in given]
            yield _Change(f"With engine='{name}' it can be exported.", request, config, engines)
    if request.dims and config.dynamic_axes is not None:
        said = "With dynamic_axes=None (all dims static) it can be exported."
        yield _Change(said, request.static(request.dims), dataclasses.replace(config, dynamic_axes=None), given)
    newest = dataclasses.replace(config, opset_version=None).opset
    if config.opset < newest:
        newer = dataclasses.replace(config, opset_version=newest)
        said = f"With opset_version={newest} it can be exported."
        yield _Change(said, request, newer, order(config.engine, newest, options))


def _tried(run: Runner, change: _Change) -> str:
    """Return the advice if a graph with the change is right at the traced sizes."""
    for engine in change.engines:
        if engine.needs_refusal:
            continue
        try:
            if try_engine(engine, run, change.request, change.config).wrong_as_traced is None:
                return change.said
        except EngineError as error:
            log.debug("advice: engine %s: %s", engine.name, error)
    return ""


def _tolerance(candidate: Candidate, mismatch: Mismatch, run: Runner, config: ExportConfig) -> str:
    """Advise a tolerance that all cases are within, if the difference is small."""
    needed = mismatch.comparison.needed_atol
    if mismatch.comparison.kind != "values" or not 0 < needed <= _LARGEST_ATOL:
        return ""
    digits = 10.0 ** (math.floor(math.log10(needed)) - 1)
    parity = Parity(rtol=config.parity.rtol, atol=round(math.ceil(2 * needed / digits) * digits, 12))
    loose = dataclasses.replace(config, checks=(parity,))
    if next(find_mismatches(run, candidate.graph, candidate.cases, loose), None) is not None:
        return ""
    return f"The difference is within checks=[Parity(atol={parity.atol:g})], if that is precise enough."


def _other_weights(candidate: Candidate, mismatch: Mismatch, run: Runner, config: ExportConfig) -> str:
    """Advise to let training continue if the graph is right with other weights; untrained ones may give ties."""
    if not candidate.graph.refreshes or mismatch.case.kind == "decision":
        return ""
    flat = FlatModule(_with_noise(run.flat.module), config.traced_method, candidate.graph.request.sample)
    cases = [dataclasses.replace(mismatch.case, expected=tuple(flat.reference(mismatch.case.tensors)))]
    found = next(find_mismatches(Runner(flat), candidate.graph, cases, config), None)
    if found is not None:
        return ""
    return (
        "With slightly different weights the graph is right, so the untrained ones seem to make scores equal: "
        "preflight='warn' lets training continue."
    )


def _with_noise(module: nn.Module) -> nn.Module:
    """Return a copy of a module with slightly different weights."""
    copied = private_copy(module)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in copied.parameters():
            if parameter.is_floating_point():
                scale = parameter.std(correction=0) if parameter.numel() > 1 else parameter.abs().mean()
                noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
                parameter.add_(noise * (scale if scale > 0 else 1.0) * _NOISE)
    return copied
