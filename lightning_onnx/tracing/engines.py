"""The ways from torch to ONNX, what serves which opset, and what each cannot do."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from lightning_onnx.errors import CaptureNotApplicable, EngineError
from lightning_onnx.tracing.base import Engine
from lightning_onnx.tracing.dynamo import DynamoEngine
from lightning_onnx.tracing.torchscript import TorchScriptEngine

ENGINES: dict[str, list[Engine]] = {
    "dynamo": [
        DynamoEngine("export"),
        DynamoEngine("exporter"),
        DynamoEngine("strict"),
        DynamoEngine("values"),
        DynamoEngine("numbers"),
        DynamoEngine("lowered"),
        DynamoEngine("derivatives"),
    ],
    "torchscript": [TorchScriptEngine()],
}
"""By name; several ways of one engine are tried in this order."""


TAKES: dict[str, frozenset[str]] = {
    "dynamo": frozenset({"custom_translation_table"}),
    "torchscript": frozenset({"autograd_inlining", "custom_opsets", "do_constant_folding", "operator_export_type"}),
}
"""Keywords of ``torch.onnx.export`` that one engine alone takes."""


def order(engine: str, opset_version: int, options: Collection[str] = ()) -> list[Engine]:
    """Return the engines to try, in order.

    ``"auto"`` prefers the torch.export based engine, at opset 17 as well, and the TorchScript based one below. Engines
    that do not take all of ``options`` are left out.
    """
    names = [engine] if engine != "auto" else ["torchscript"] if opset_version < 17 else ["dynamo", "torchscript"]
    refused = frozenset().union(*TAKES.values())
    return [e for name in names if not (set(options) & refused) - TAKES[name] for e in ENGINES[name]]


def failure(errors: Sequence[EngineError]) -> EngineError:
    """Merge what the engines said into one error, shortest cause first."""
    told = [e for e in errors if not isinstance(e.__cause__, CaptureNotApplicable)] or errors
    causes = sorted({str(e) for e in told}, key=len)
    operator = next(
        (m.group(0) for c in causes for m in [re.search(r"\b(?:aten|prim|torchvision)::?[\w.:]+", c)] if m), None
    )
    at_fault = f" The operator at fault is {operator}." if operator else ""
    merged = EngineError(
        "the module cannot be exported to ONNX.\n  "
        + "\n  ".join(causes)
        + f"\n{at_fault} Rewrite that part of the method for tracing, export another method (method=...), another "
        "opset (opset_version=...), or give own translations (export_options={'custom_translation_table': ...})."
    )
    merged.__cause__ = told[0].__cause__ or told[0]
    return merged


# What torch.export found out about the dims ------------------------------------------------------------------------
