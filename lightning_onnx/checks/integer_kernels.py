"""Finds out whether a quantized file is wrong only in onnxruntime's integer kernels, and not as ONNX defines it."""

from __future__ import annotations

import functools
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


class IntegerKernels:
    """onnxruntime's kernels for the quantized parts of a file; the file is read, and loaded without them, only once.

    Args:
        context: The file, the module, and the runtime.
        judge: Compares the outputs of one case.
    """

    def __init__(self, context: CheckContext, judge: Callable[[Session, CheckContext, Case], CaseOutcome]) -> None:
        self._context = context
        self._judge = judge

    def are_at_fault(self, case: Case) -> bool:
        """Tell whether a file that is wrong is right where onnxruntime computes QuantizeLinear and its like in float.

        Args:
            case: Inputs on which the file is wrong.
        """
        unfused = self._unfused
        return unfused is not None and not self._judge(unfused.session, unfused, case).failures

    @functools.cached_property
    def _unfused(self) -> CheckContext | None:
        """The context without these kernels; None if the file or its runtime has none."""
        if self._context.runtime.name != "onnxruntime" or not _is_quantized(self._context):
            return None
        return self._context.replace(runtime=client.hosted("onnxruntime", spins=False, fuses_quantized=False))


def _is_quantized(context: CheckContext) -> bool:
    return any(node.op_type == "DequantizeLinear" for node in without_large_weights(context.model_path).graph.node)
