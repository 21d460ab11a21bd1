"""The engines, in the order in which they are tried, and the options that only one of them takes."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from lightning_onnx.errors import CaptureNotApplicable, EngineError
from lightning_onnx.tracing.base import Engine
from lightning_onnx.tracing.captures.table import CAPTURES
from lightning_onnx.tracing.dynamo import DynamoEngine
from lightning_onnx.tracing.torchscript import TorchScriptEngine

ENGINES: dict[str, list[Engine]] = {
    "dynamo": [DynamoEngine(capture) for capture in CAPTURES],
    "torchscript": [TorchScriptEngine()],
}
"""By name; several ways of one engine are tried in this order."""

_KEEPING: dict[str, list[Engine]] = {"dynamo": [DynamoEngine(capture, keeps_program=True) for capture in CAPTURES]}
"""Those that keep the captured program."""

TAKES: dict[str, frozenset[str]] = {
    "dynamo": frozenset({"custom_translation_table"}),
    "torchscript": frozenset({"autograd_inlining", "custom_opsets", "do_constant_folding", "operator_export_type"}),
}
"""Keywords of ``torch.onnx.export`` that only one engine takes."""


def order(
    engine: str, opset_version: int, options: Collection[str] = (), *, keeps_program: bool = False
) -> list[Engine]:
    """Return the engines to try, in order; those that do not take all of ``options`` are left out.

    Args:
        engine: Name of an engine. ``"auto"`` prefers the torch.export based engine from opset 17 on, and takes the
            TorchScript based one below.
        opset_version: The opset to write.
        options: Names of the keywords for ``torch.onnx.export``.
        keeps_program: Whether engines keep the captured program, as far as they have one.
    """
    names = [engine] if engine != "auto" else ["torchscript"] if opset_version < 17 else ["dynamo", "torchscript"]
    only_one = frozenset().union(*TAKES.values())
    engines = ENGINES | _KEEPING if keeps_program else ENGINES
    return [e for name in names if not (set(options) & only_one) - TAKES[name] for e in engines[name]]


def refusals_of(errors: Sequence[EngineError]) -> list[str]:
    """Return why engines refuse a module, shortest first, without captures that are for other modules.

    Args:
        errors: The errors of the engines.
    """
    return _texts(_refusing(errors))


def _refusing(errors: Sequence[EngineError]) -> list[EngineError]:
    return [e for e in errors if not isinstance(e.__cause__, CaptureNotApplicable)]


def _texts(errors: Sequence[EngineError]) -> list[str]:
    return sorted({str(e) for e in errors}, key=len)


def failure(errors: Sequence[EngineError], advice: str = "") -> EngineError:
    """Merge the errors of the engines into one, shortest cause first.

    Args:
        errors: One error of each engine that was tried.
        advice: A sentence with what helped when tried.
    """
    told = _refusing(errors) or errors
    causes, first = _texts(told), told[0]
    operator = _at_fault(causes)
    said = [advice] if advice else []
    said += [f"The operator at fault is {operator}."] if operator else []
    said += ["Rewrite that part of the method so that it can be traced, or export another method (method=...)."]
    if operator:
        said += ["Or give a translation of the operator (export_options={'custom_translation_table': ...})."]
    merged = EngineError("the module cannot be exported to ONNX.\n  " + "\n  ".join(causes) + "\n" + " ".join(said))
    merged.__cause__ = first.__cause__ or first
    return merged


def _at_fault(causes: Sequence[str]) -> str | None:
    """Return the operator that cannot be translated, if it is known.

    One that the TorchScript based engine lacks is not at fault where the other engine refuses the module for a line.

    Args:
        causes: The texts of the errors, each with the name of its engine first.
    """
    found = re.search(r"No ONNX function found for <OpOverload\(op='(\w+)\.(\w+)", "\n".join(causes))
    if found:
        return "::".join(found.groups())
    if len({cause.partition(":")[0] for cause in causes}) > 1:
        return None
    found = re.search(r"\b(?:aten|prim|torchvision)::?[\w.:]+", "\n".join(causes))
    return found.group(0) if found else None
