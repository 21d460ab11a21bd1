"""Simplifying a traced graph without changing a value.

``torch.onnx.ONNXProgram.optimize`` runs onnxscript's default rewrite rules, and some of them change results:

- Those for adding 0 and multiplying by 1 match constants with a relative tolerance of 1e-5 and an absolute one of 1e-8.
  They drop ``x + 1e-12`` and ``x * (1 + 1e-6)``, and adding 0 turns -0 into 0.
- Those that merge ``Clip``, ``Relu``, ``Min`` and ``Max`` name their constants after the input. If two of them read
  the same value, no runtime loads the graph. Some of them give another result for NaN.
- The one that turns two slices into a ``Split`` cuts an odd dim at another place.
- The one that merges two casts rounds once instead of twice.
- Those that fold a norm or drop a bias of zeros are for weights, which ``onnxfile.recipes`` folds for each file.

The same passes run here with the rules that are exact.
"""

from __future__ import annotations

import logging
from typing import Any

import onnx
import onnx_ir as ir
from onnx_ir.passes import common as passes
from onnxscript import optimizer
from onnxscript.rewriter import pattern
from onnxscript.rewriter.rules import common

log = logging.getLogger(__name__)

_ROUNDS = 2
"""As in onnxscript's own optimizer: a rewritten graph may have more constants to fold."""


def optimized(model: ir.Model) -> ir.Model:
    """Fold constants, remove what has no effect and merge what is equal.

    Args:
        model: The model, which is left as it is. Values that are not to be folded, such as weights that other files
            replace, are graph inputs.

    Returns:
        Another model, or the same one if a pass fails or writes an invalid graph.
    """
    simplified = model.clone()
    try:
        _PASSES(simplified)
        onnx.checker.check_model(ir.to_proto(simplified))
    except Exception:
        log.debug("the graph is written as it was traced", exc_info=True)
        return model
    return simplified


class _FoldConstants(ir.passes.InPlacePass):
    def call(self, model: ir.Model) -> ir.passes.PassResult:
        return optimizer.fold_constants_ir(model, onnx_shape_inference=True)


class _Rewrite(ir.passes.InPlacePass):
    def call(self, model: ir.Model) -> ir.passes.PassResult:
        changed = pattern.RewriteRuleSet(EXACT_RULES).apply_to_model(model)
        for clean_up in (
            passes.RemoveUnusedNodesPass(),
            passes.RemoveUnusedFunctionsPass(),  # type: ignore[no-untyped-call]
            passes.RemoveUnusedOpsetsPass(),
        ):
            changed = clean_up(model).modified or changed
        return ir.passes.PassResult(model, bool(changed))


def _number(value: int) -> pattern.Constant:
    """Match this number only; the default tolerances would match 1 + 1e-6 for 1."""
    return pattern.Constant(value, rel_tol=0, abs_tol=0)


def _is_integer(context: object, x: ir.Value, **_: object) -> bool:
    """Whether adding 0 changes nothing; with floats, it makes -0 positive."""
    return x.dtype is not None and x.dtype.is_integer()


def _unchanged(op: Any, x: ir.Value, **_: object) -> ir.Value:
    identity: ir.Value = op.Identity(x)
    return identity


_NO_OPS = (
    *pattern.RewriteRule(lambda op, x: op.Mul(x, _number(1)), _unchanged).commute(),
    *pattern.RewriteRule(lambda op, x: op.Add(x, _number(0)), _unchanged, _is_integer).commute(),
    pattern.RewriteRule(lambda op, x: op.Sub(x, _number(0)), _unchanged),
    pattern.RewriteRule(lambda op, x: op.Div(x, _number(1)), _unchanged),
)

EXACT_RULES = (
    *_NO_OPS,
    common.dropout_zero_rule,
    common.dropout_inference_rule,
    common.cast_constant_of_shape_rule,
    common.cast_constant_of_shape_without_value_rule,
    common.collapse_slice_rule,
    common.collapse_slice2_rule,
    common.materialize_reshape_shape_rule,
    common.successive_relu_rule,
    common.no_op_cast_rule,
    common.no_op_expand_rule,
    common.flatten_to_reshape_rule,
    common.reshape_reshape_rule,
    common.no_op_transpose_rule,
    common.transpose_transpose_rule,
    common.unsqueeze_unsqueeze_rule,
    common.squeeze_reshape_1d_rule,
    common.no_op_dynamic_scatter_nd_rule,
    common.no_op_static_scatter_nd_rule,
    common.normalize_pad_format_conv_rule,
    common.normalize_pad_format_conv_integer_rule,
    common.fuse_pad_into_conv_rule,
    common.fuse_pad_into_conv_integer_rule,
)
"""onnxscript's default rules without those named above, in its order."""

_PASSES = ir.passes.Sequential(
    passes.InlinePass(),
    ir.passes.PassManager([_FoldConstants(), _Rewrite()], steps=_ROUNDS, early_stop=True),
    passes.RemoveUnusedNodesPass(),
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
    passes.LiftSubgraphInitializersToMainGraphPass(),
    passes.DeduplicateInitializersPass(),
    passes.CommonSubexpressionEliminationPass(),
    passes.OutputFixPass(),
    passes.NameFixPass(),
)
