"""TODO."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.calls.signature import Signature, TensorSpec
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.base import ConstantDim, Traced, tracing


def dims_of(
    program: torch.export.ExportedProgram, request: Request
) -> tuple[dict[str, str], list[ConstantDim], list[str], list[int]]:
    """Read from an ExportedProgram: symbols by dim, dims that are constant, relations, unused inputs."""
    user_inputs = set(program.graph_signature.user_inputs)
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in user_inputs]
    ranges = {str(symbol): r for symbol, r in program.range_constraints.items()}
    symbols: dict[str, str] = {}
    fixed: dict[str, ConstantDim] = {}
    relations: list[str] = []
    expressions: list[tuple[str, str]] = []
    for node, axes in zip(placeholders, request.axes, strict=True):
        for d, name in axes.items():
            size: Any = node.meta["val"].shape[d]  # an int or a SymInt
            limits = ranges.get(str(size))
            if isinstance(size, int):
                fixed[name] = ConstantDim(name, size)
            elif limits is not None and limits.lower == limits.upper:
                fixed[name] = ConstantDim(name, int(limits.lower))
            elif str(size).isidentifier():
                if symbols.setdefault(str(size), name) != name:
                    relations.append(f"{name} equals {symbols[str(size)]}")
            else:
                expressions.append((name, str(size)))
    for name, expression in expressions:
        relations.append(f"{name} = {_renamed(expression, symbols)}")
    unused = [i for i, node in enumerate(placeholders) if not node.users]
    return symbols, list(fixed.values()), list(dict.fromkeys(relations)), unused


def _renamed(expression: str, symbols: Mapping[str, str]) -> str:
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda m: symbols.get(m[0], m[0]), expression)


class _GuardFilter(logging.Filter):
    """Notes from which line of the user's code each "size is constant" guard comes, and keeps the log quiet."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols: dict[str, tuple[int, int]] = {}
        self.where: dict[str, str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        created = re.match(r"create_symbol (\w+) = .* for L\['tensors'\]\[(\d+)\]\.size\(\)\[(\d+)\]", message)
        if created:
            self.symbols[created[1]] = (int(created[2]), int(created[3]))
        fixed = re.search(r"(?:Eq\((\w+), \d+\) \[guard added\]|set_replacement (\w+) = \d+ )", message)
        if fixed:
            place = _user_frame()
            if place:
                self.where.setdefault(fixed[1] or fixed[2], place)
        return False


def _user_frame() -> str | None:
    """Return ``file:line`` of the innermost running frame that is neither torch's nor this package's."""
    frame: FrameType | None = sys._getframe()
    own = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]), str(Path(logging.__file__).parent))
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith(own) and not filename.startswith("<"):
            return f"{Path(filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def where_fixed(module: FlatModule, request: Request, dynamic: Any) -> dict[str, str]:
    """Trace once more, listening to torch's log of guards, and return the line that fixed each dim where it tells."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    listener, level = _GuardFilter(), logger.level
    logger.addFilter(listener)
    try:
        with contextlib.suppress(Exception), tracing("dynamo"):
            logger.setLevel(logging.INFO)  # tracing has silenced it
            torch.export.export(module, request.tensors, dynamic_shapes=dynamic, strict=False)
    finally:
        logger.setLevel(level)
        logger.removeFilter(listener)
    found = {}
    for symbol, (tensor, dim) in listener.symbols.items():
        name = request.axes[tensor].get(dim)
        if name is not None and symbol in listener.where:
            found[name] = listener.where[symbol]
    return found


def rename_expression(expression: str, symbols: Mapping[str, str]) -> str:
    """Replace symbols by names in a dim's expression.

    Example:
        >>> rename_expression("2*s0 + 1", {"s0": "length"})
        '2*length + 1'
    """
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda m: symbols.get(m[0], m[0]), expression)


def achieved(
    traced: Traced, model: Any, request: Request, results: Sequence[tuple[Mapping[str, int], Sequence[Tensor]]]
) -> tuple[Signature, bool]:
    """Compare what an engine declared with what the module gave at several sizes.

    Args:
        traced: What the engine made.
        model: One model of it, before names are given.
        request: What was asked.
        results: Sizes of the dynamic dims, and the module's outputs at them; the traced sizes first.

    Returns:
        The signature, and whether the engine declared a size as constant that varies (its inner shapes are then wrong
        as well and are better left out).
    """
    inputs = tuple(
        TensorSpec(name, dtype_name(t), tuple(axes.get(d, s) for d, s in enumerate(t.shape)))
        for name, t, axes in zip(request.input_names, request.tensors, request.axes, strict=True)
    )
    outputs = []
    drop_inner_shapes = False
    for i, name in enumerate(request.output_names):
        declared = list(model.graph.outputs[i].shape or [None] * results[0][1][i].dim())
        shape: list[int | str] = []
        for d, size in enumerate(results[0][1][i].shape):
            sizes = [outputs_[i].shape[d] for _, outputs_ in results if outputs_[i].dim() > d]
            engine_says = declared[d] if d < len(declared) else None
            dim, wrong = _output_dim(
                engine_says, size, sizes, [s for s, _ in results], traced.symbols, f"{name}_dim_{d}"
            )
            drop_inner_shapes |= wrong
            shape.append(dim)
        outputs.append(TensorSpec(name, dtype_name(results[0][1][i]), tuple(shape)))
    return Signature(inputs, tuple(outputs), traced.relations), drop_inner_shapes


def _output_dim(
    declared: Any, size: int, sizes: list[int], given: list[Mapping[str, int]], symbols: Mapping[str, str], default: str
) -> tuple[int | str, bool]:
    varies = len(set(sizes)) > 1
    if isinstance(declared, int):
        if not varies:
            return declared, False
    elif declared is not None and getattr(declared, "value", None):
        expression = str(declared.value)
        if all(word in symbols for word in re.findall(r"\b[A-Za-z_]\w*\b", expression)):
            return rename_expression(expression, symbols), False
    if not varies and not any(len({g.get(n) for g in given}) > 1 for n in given[0]):
        return (size if isinstance(declared, int) else default), False
    if not varies:  # constant in truth, or by values: torch.export says which, the other engine makes up names
        return (default if symbols and not isinstance(declared, int) and declared is not None else size), False
    for name in given[0]:
        if all(g[name] == s for g, s in zip(given, sizes, strict=False)):
            return name, isinstance(declared, int)
    return default, isinstance(declared, int)


def dtype_name(tensor: Tensor) -> str:
    """Return a tensor's element type as numpy names it.

    Example:
        >>> import torch
        >>> dtype_name(torch.zeros(1))
        'float32'
    """
    return str(tensor.dtype).removeprefix("torch.")
