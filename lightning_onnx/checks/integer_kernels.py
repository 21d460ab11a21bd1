"""Finds out whether a quantized file is wrong only in onnxruntime's integer kernels, and not as ONNX defines it."""

from __future__ import annotations

from collections.abc import Callable

from lightning_onnx.checks.base import CheckContext
from lightning_onnx.checks.outcomes import CaseOutcome
from lightning_onnx.module.cases import Case
from lightning_onnx.onnxfile.validity import without_large_weights
from lightning_onnx.runtimes.base import Session
from lightning_onnx.runtimes.onnxruntime import UNFUSED
from lightning_onnx.runtimes.worker import client

_OPTION, _VALUE = UNFUSED

REASON = (
    "the file is right, but onnxruntime's integer kernels are not on this CPU: x86 CPUs without VNNI add two products "
    "of 8 bits in 16 bits, which overflow. Train with a qconfig whose activations have 7 bits, such as "
    f"get_default_qat_qconfig('x86'), or run the file with the session option {_OPTION}={_VALUE}"
)


def are_at_fault(
    context: CheckContext, case: Case, judge: Callable[[Session, CheckContext, Case], CaseOutcome]
) -> bool:
    """Tell whether a file that is wrong is right where onnxruntime computes QuantizeLinear and its like in float.

    Args:
        context: The file, the module, and the runtime that is wrong.
        case: Inputs on which the file is wrong.
        judge: Compares the outputs of one case.
    """
    if context.runtime.name != "onnxruntime" or not _is_quantized(context):
        return False
    unfused = context.replace(runtime=client.hosted("onnxruntime", spins=False, fuses_quantized=False))
    return not judge(unfused.session, unfused, case).failures


def _is_quantized(context: CheckContext) -> bool:
    return any(node.op_type == "DequantizeLinear" for node in without_large_weights(context.model_path).graph.node)
