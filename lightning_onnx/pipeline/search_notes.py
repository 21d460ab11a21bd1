"""The notes and errors of the search for a graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_onnx.errors import EngineError, NotReadyError, ParityError, chain, first_line
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import SizeRange
from lightning_onnx.module.runner import Runner
from lightning_onnx.module.weights.non_finite import non_finite_weights
from lightning_onnx.pipeline import advice
from lightning_onnx.pipeline.candidate import Candidate
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.decisions import steps_depend_on_values
from lightning_onnx.pipeline.limits import Limit
from lightning_onnx.pipeline.traced_file import Mismatch, locate_divergence

_FIXED_STEPS = (
    "Take a fixed number of steps, such as those of a solver with a constant step size, or move the loop to a method "
    "that is not exported (method=...)."
)


def static_dims(candidate: Candidate) -> dict[str, str]:
    """Return the dims that a candidate cannot keep dynamic, each with a note that gives the reason."""
    request = candidate.graph.request
    notes: dict[str, str] = {}
    for constant in candidate.constant_dims:
        where = f" at {constant.where}" if constant.where else ""
        notes[constant.dim] = (
            f"{_place(request, constant.dim)} is static: the module's code makes it constant ({constant.size}){where}"
        )
    for dim, mismatch in candidate.wrong_dims.items():
        notes.setdefault(dim, f"{_place(request, dim)} is static: the graph is wrong at other sizes ({mismatch})")
    return notes


def beyond_what_was_seen(candidate: Candidate, limits: Mapping[str, Limit], dims: Sequence[str]) -> dict[str, str]:
    """Return notes on dims that become static because the graph is wrong at all of their observed sizes.

    Args:
        candidate: The candidate.
        limits: The limits of its dims.
        dims: The dims.
    """
    request = candidate.graph.request
    return {
        dim: f"{_place(request, dim)} is static: with a dynamic size, the graph is right at {limits[dim].sizes}, and "
        f"no observed size is among them ({'; '.join(map(str, limits[dim].mismatches))})"
        for dim in dims
    }


def refused(request: Request, dims: Sequence[str], error: EngineError) -> str:
    """Return a note on dims that are static because no engine translates the module otherwise."""
    places = " and ".join(_place(request, dim) for dim in dims)
    verb = "is" if len(dims) == 1 else "are"
    cause = first_line(chain(error)[-1])
    return f"{places} {verb} static: no engine translates the module otherwise ({cause})"


def uneven_loops(loops: Sequence[str]) -> str:
    """Return sentences on loops whose number of steps depends on tensor values; empty if there are none.

    Args:
        loops: ``file:line`` of each.
    """
    told = steps_depend_on_values(loops)
    return f"{told[0].upper()}{told[1:]}, for which a graph has no form. {_FIXED_STEPS}" if loops else ""


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


def wrong_as_traced(
    candidate: Candidate, run: Runner, config: ExportConfig, refusals: Sequence[str]
) -> ParityError | NotReadyError:
    """Return the error for a best candidate that is wrong at the traced sizes; it names the first wrong node.

    Args:
        candidate: The candidate.
        run: Runs the module.
        config: The options.
        refusals: Why other engines refuse the module.
    """
    mismatch = candidate.wrong_as_traced
    assert mismatch is not None
    name = f"{type(run.flat.module).__name__}.{config.method}"
    weights = non_finite_weights(run.flat.module) if mismatch.comparison.concerns_non_finite else None
    if weights is not None:
        return NotReadyError(f"{name} cannot be compared with its graph: {weights} ({mismatch}).")
    if mismatch.case.kind == "decision":
        return _keeps_a_decision(candidate, mismatch, name, refusals)
    first_node = locate_divergence(run, candidate.graph, mismatch, config)
    problem = f"{mismatch}; {first_node}" if first_node else str(mismatch)
    loops = candidate.decisions.loops
    helps = _FIXED_STEPS if loops else advice.for_wrong_graph(candidate, mismatch, run, config)
    why = f" In {name}, {steps_depend_on_values(loops)}." if loops else ""
    return ParityError(
        f"the ONNX graph of {name} (engine '{candidate.engine.name}') does not compute what the module does: "
        f"{problem}.{why}{_others(refusals)} "
        f"{helps or 'Change that part of the method, or export another (method=...).'}"
    )


def _others(refusals: Sequence[str]) -> str:
    return f" Other ways to export it fail: {'; '.join(refusals)}." if refusals else ""


def _keeps_a_decision(candidate: Candidate, mismatch: Mismatch, name: str, refusals: Sequence[str]) -> ParityError:
    loops = candidate.decisions.loops
    decides = (
        f"In {name}, {steps_depend_on_values(loops)}" if loops else f"{name} makes a decision based on tensor values"
    )
    both = "Compute both branches and choose with torch.where, or move the decision to a method that is not exported "
    return ParityError(
        f"{decides}, and the ONNX graph (engine '{candidate.engine.name}') "
        f"keeps the one of the traced call: {mismatch}.{_others(refusals)} "
        f"{_FIXED_STEPS if loops else both + '(method=...).'} "
        "preflight='warn' lets training continue; the check of the trained weights then fails on such inputs."
    )


def cannot_be_dynamic(notes: dict[str, str], refusals: Sequence[str], helps: str) -> EngineError:
    """Return the error for requested dynamic dims that no engine can keep dynamic.

    Args:
        notes: The reason for each dim.
        refusals: Why other engines refuse the module.
        helps: A sentence with what helped when tried.
    """
    return EngineError(
        f"dynamic_axes asks for {sorted(notes)} to be dynamic, but no engine can do it: "
        f"{'; '.join(notes.values())}.{_others(refusals)} {helps or 'Change that line of the module.'}"
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
