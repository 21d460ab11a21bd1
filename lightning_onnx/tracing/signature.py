"""A graph's actual signature: what its engine declared, compared with what the module returned."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import Signature, TensorSpec
from lightning_onnx.tracing.base import Traced
from lightning_onnx.tracing.dims import rename_symbols, symbols_in

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A call of the module.

    Attributes:
        sizes: Size of each dynamic dim.
        outputs: The module's outputs.
    """

    sizes: Mapping[str, int]
    outputs: Sequence[Tensor]


@dataclasses.dataclass(frozen=True)
class Achieved:
    """The inputs and outputs of a graph.

    Attributes:
        signature: Its inputs and outputs.
        drop_inner_shapes: Whether the engine declared a size as constant that varies: then shapes inside the graph are
            wrong as well and are removed.
    """

    signature: Signature
    drop_inner_shapes: bool


def achieved_signature(
    traced: Traced, request: Request, outcomes: Sequence[Outcome], others: Sequence[Outcome] = ()
) -> Achieved:
    """Compare what an engine declared with the module's outputs at several sizes.

    Args:
        traced: What the engine returned.
        request: What was asked.
        outcomes: Calls of the module; the one at the traced sizes first.
        others: Calls with other values, which show that a size depends on values.
    """
    inputs = tuple(
        TensorSpec(name, dtype_name(t), tuple(axes.get(d, s) for d, s in enumerate(t.shape)))
        for name, t, axes in zip(request.input_names, request.tensors, request.axes, strict=True)
    )
    outputs = []
    drop_inner_shapes = False
    for i, name in enumerate(request.output_names):
        tensor = outcomes[0].outputs[i]
        declared = list(traced.first.model.graph.outputs[i].shape or [None] * tensor.dim())
        shape: list[int | str] = []
        for d in range(tensor.dim()):
            dim = declared[d] if d < len(declared) else None
            sizes = [o.outputs[i].shape[d] for o in outcomes if o.outputs[i].dim() > d]
            by_values = _depends_on_values(i, d, outcomes, others)
            given, default = [o.sizes for o in outcomes], f"{name}_dim_{d}"
            shape.append(_output_dim(dim, sizes, given, traced.symbols, default, by_values=by_values))
            drop_inner_shapes |= isinstance(dim, int) and (by_values or len(set(sizes)) > 1)
        outputs.append(TensorSpec(name, dtype_name(tensor), tuple(shape)))
    return Achieved(Signature(inputs, tuple(outputs), traced.relations), drop_inner_shapes)


def _depends_on_values(output: int, dim: int, outcomes: Sequence[Outcome], others: Sequence[Outcome]) -> bool:
    """Tell whether a dim of an output has another size where only the values of the inputs differ."""
    return any(
        known.sizes == other.sizes
        and known.outputs[output].dim() == other.outputs[output].dim()
        and known.outputs[output].shape[dim] != other.outputs[output].shape[dim]
        for known in outcomes
        for other in others
        if known.outputs[output].dim() > dim
    )


def _output_dim(
    declared: int | ir.SymbolicDim | None,
    sizes: Sequence[int],
    given: Sequence[Mapping[str, int]],
    symbols: Mapping[str, str],
    default: str,
    *,
    by_values: bool,
) -> int | str:
    """Return a static size, or the name or expression of a dynamic one.

    Args:
        declared: What the engine declared.
        sizes: The dim's size in each call; the traced call first.
        given: Sizes of the dynamic input dims in each call.
        symbols: Names of the input dims by the engine's symbols.
        default: Name to use if no input dim has one.
        by_values: Whether the size is known to depend on values.
    """
    varies = len(set(sizes)) > 1
    if isinstance(declared, int) and not varies and not by_values:
        return declared
    if declared is not None and not isinstance(declared, int) and declared.value:
        expression = str(declared.value)
        if all(symbol in symbols for symbol in symbols_in(expression)):
            return rename_symbols(expression, symbols)
    if by_values:
        return default
    if not varies:
        if not any(len({g.get(name) for g in given}) > 1 for name in given[0]):
            return default  # no input dim varied, so that nothing is known
        # Constant, or dependent on values: torch.export reports which, the TorchScript based engine makes up names.
        return default if symbols and declared is not None else sizes[0]
    same = (name for name in given[0] if all(g[name] == s for g, s in zip(given, sizes, strict=False)))
    return next(same, default)


def dtype_name(tensor: Tensor) -> str:
    """Return a tensor's element type as numpy names it.

    Example:
        >>> import torch
        >>> dtype_name(torch.zeros(1))
        'float32'
    """
    return str(tensor.dtype).removeprefix("torch.")
