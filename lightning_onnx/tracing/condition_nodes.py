"""A condition on sizes as ONNX nodes."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lightning_onnx.tracing.conditions import SizeCondition

if TYPE_CHECKING:
    import onnx_ir as ir

Place = tuple[int, int]
"""Index of an input, and of its dim."""


def nodes_of(
    condition: SizeCondition, inputs: Sequence[ir.Value], places: Mapping[str, Place], prefix: str
) -> list[ir.Node]:
    """Return nodes that compute whether a condition holds; the last one returns it as a boolean scalar.

    Args:
        condition: The condition.
        inputs: The inputs of the graph.
        places: The input and index of each dim.
        prefix: Prefix of the values' names.
    """
    writer = _Writer(inputs, {name: places[dim] for name, dim in condition.dims})
    writer.write(condition.tree)
    for number, node in enumerate(writer.nodes):
        node.outputs[0].name = f"{prefix}{node.op_type.lower()}_{number}"
    return writer.nodes


_OPERATORS: Mapping[type[ast.operator], str] = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Mod: "Mod"}


@dataclasses.dataclass
class _Writer:
    """Collects the nodes of an expression of 64-bit integers."""

    inputs: Sequence[ir.Value]
    places: Mapping[str, Place]
    nodes: list[ir.Node] = dataclasses.field(default_factory=list)

    def write(self, tree: ast.expr) -> ir.Value:
        """Add the nodes of an expression, and return its value."""
        if isinstance(tree, ast.Compare):
            return self._comparison(tree.ops[0], self.write(tree.left), self.write(tree.comparators[0]))
        if isinstance(tree, ast.BinOp):
            left, right = self.write(tree.left), self.write(tree.right)
            if isinstance(tree.op, ast.FloorDiv):  # ONNX rounds towards zero
                return self._add("Div", self._add("Sub", left, self._add("Mod", left, right)), right)
            return self._add(_OPERATORS[type(tree.op)], left, right)
        if isinstance(tree, ast.UnaryOp):
            return self._add("Neg", self.write(tree.operand))
        if isinstance(tree, ast.Call):
            assert isinstance(tree.func, ast.Name)
            return self._add(tree.func.id, *map(self.write, tree.args))
        if isinstance(tree, ast.Name):
            tensor, dim = self.places[tree.id]
            return self._add("Gather", self._add("Shape", self.inputs[tensor]), self._integer(dim))
        assert isinstance(tree, ast.Constant)
        assert isinstance(tree.value, int)
        return self._integer(tree.value)

    def _comparison(self, operator: ast.cmpop, left: ir.Value, right: ir.Value) -> ir.Value:
        """Compare with operators that every opset has for integers."""
        if isinstance(operator, (ast.Eq, ast.NotEq)):
            found = self._add("Equal", left, right)
        else:
            swapped = isinstance(operator, (ast.Gt, ast.LtE))
            found = self._add("Less", right, left) if swapped else self._add("Less", left, right)
        return self._add("Not", found) if isinstance(operator, (ast.NotEq, ast.LtE, ast.GtE)) else found

    def _integer(self, value: int) -> ir.Value:
        import onnx_ir as ir

        return self._kept(ir.node("Constant", [], {"value": ir.tensor(np.asarray(value, dtype=np.int64))}))

    def _add(self, op_type: str, *inputs: ir.Value) -> ir.Value:
        import onnx_ir as ir

        return self._kept(ir.node(op_type, inputs))

    def _kept(self, node: ir.Node) -> ir.Value:
        self.nodes.append(node)
        return node.outputs[0]
