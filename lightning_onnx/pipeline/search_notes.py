"""The notes and errors of the search for a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_onnx.errors import EngineError, ParityError, chain, first_line
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import SizeRange
from lightning_onnx.module.runner import Runner
from lightning_onnx.pipeline.candidate import Candidate
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.limits import Limit
from lightning_onnx.pipeline.traced_file import Mismatch, locate_divergence


def static_dims(candidate: Candidate) -> dict[str, str]:
    """Return the dims that a candidate cannot keep dynamic, each with a note that gives the reason."""
    request = candidate.graph.request
    notes: dict[str, str] = {}
    for constant in candidate.constant_dims:
        where = f" at {constant.where}" if constant.where else ""
        notes[constant.dim] = (
            f"{_place(request, constant.dim)} is static: the module's code makes it constant ({constant.size}){where}"
        )
    at_one = {} if candidate.wrong_as_traced else candidate.wrong_at_one
    for dim, mismatch in (candidate.wrong or at_one).items():
        notes.setdefault(dim, f"{_place(request, dim)} is static: the graph is wrong at other sizes ({mismatch})")
    return notes


def refused(request: Request, dims: Sequence[str], error: EngineError) -> str:
    """Return a note on dims that are static because no engine translates the module otherwise."""
    places = " and ".join(_place(request, dim) for dim in dims)
    verb = "is" if len(dims) == 1 else "are"
    cause = first_line(chain(error)[-1])
    return f"{places} {verb} static: no engine translates the module otherwise ({cause})"


def limits(candidate: Candidate, limits: Mapping[str, Limit]) -> list[str]:
    """Return notes on the limits of a candidate that keeps all its dims and is right at the traced sizes.

    Args:
        candidate: The candidate.
        limits: The limits of its dims.
    """
    notes = [
        f"{dim} must be {_bounds(limit.sizes)}: at other sizes the graph computes something else "
        f"({'; '.join(map(str, limit.mismatches))})"
        for dim, limit in limits.items()
        if limit.sizes.is_limited
    ]
    notes += [
        f"{dim} must be a multiple of {limit.sizes.step}: at other sizes the graph computes something else "
        f"({limit.between})"
        for dim, limit in limits.items()
        if limit.sizes.step > 1
    ]
    if candidate.inexact:
        notes.append(f"the untrained module and its graph differ slightly: {candidate.inexact}")
    return notes


def wrong_as_traced(candidate: Candidate, run: Runner, config: ExportConfig) -> ParityError:
    """Return the error for a best candidate that is wrong at the traced sizes; it names the first wrong node."""
    mismatch = candidate.wrong_as_traced
    assert mismatch is not None
    if mismatch.case.kind == "decision":
        return _keeps_a_decision(candidate, mismatch, run, config)
    first_node = locate_divergence(run, candidate.graph, mismatch, config)
    problem = f"{mismatch}; {first_node}" if first_node else str(mismatch)
    return ParityError(
        f"the ONNX graph of {type(run.flat.module).__name__}.{config.method} (engine '{candidate.engine.name}') does "
        f"not compute what the module does: {problem}. Try another engine or opset_version; loosen "
        "checks=[Parity(rtol=..., atol=...)] if the difference is noise; or let training continue (preflight='warn') "
        "if untrained weights make all scores equal."
    )


def _keeps_a_decision(candidate: Candidate, mismatch: Mismatch, run: Runner, config: ExportConfig) -> ParityError:
    return ParityError(
        f"{type(run.flat.module).__name__}.{config.method} makes a decision based on tensor values, and the ONNX graph "
        f"(engine '{candidate.engine.name}') keeps the one of the traced call: {mismatch}. Compute both branches and "
        "choose with torch.where, or move the decision to a method that is not exported (method=...). "
        "preflight='warn' lets training continue; the check of the trained weights then fails on such inputs."
    )


def cannot_be_dynamic(notes: dict[str, str]) -> EngineError:
    """Return the error for requested dynamic dims that no engine can keep dynamic.

    Args:
        notes: The reason for each dim.
    """
    return EngineError(
        f"dynamic_axes asks for {sorted(notes)} to be dynamic, but no engine can do it: "
        f"{'; '.join(notes.values())}. Leave these axes out, or change that line of the module."
    )


def _bounds(sizes: SizeRange) -> str:
    return str(sizes) if sizes.max is None or sizes.min > 1 else f"{sizes.max} or less"


def _place(request: Request, dim: str) -> str:
    places = [
        f"dim {d} of input '{name}'"
        for name, axes in zip(request.input_names, request.axes, strict=True)
        for d, n in axes.items()
        if n == dim
    ]
    return f"{' and '.join(places)} ({dim})"
