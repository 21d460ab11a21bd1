"""Finds where a file that fails parity first differs from the module: the first value that torch computes differently.

Some values of the file have a counterpart in torch (``lightning_onnx.module.inner_values``); the others are skipped.
The search starts at the wrong output, and goes back until values agree. The first wrong value after these is the place,
because all inputs of its node are right. The search runs after a check has failed, and traces nothing.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import GraphProto, NodeProto

from lightning_onnx.checks.base import CheckContext
from lightning_onnx.checks.inner_comparison import Compare, InnerComparison, ValueMatch
from lightning_onnx.module.cases import Case
from lightning_onnx.module.inner_values import InnerValues
from lightning_onnx.onnxfile.scopes import path_of, source_of
from lightning_onnx.onnxfile.walk import inputs

log = logging.getLogger(__name__)

_LARGEST = 2**30
"""Size of the largest model to examine, in bytes."""

_SMALL = 2**10
"""Initializers of up to this many elements are kept, because onnx's shape inference needs sizes and axes."""


@dataclasses.dataclass(frozen=True)
class Divergence:
    """The place where the file first differs from the module.

    Attributes:
        node: Name of the node in the file.
        operator: The node's operator.
        module: Qualified name of the submodule that the node comes from; None if unknown.
        source: The torch operator that the node was translated from; None if unknown.
        output: The output of the file that is wrong because of the node.
        max_rel_diff: Largest difference of the node's value as a share of the scale; None if it cannot be computed.
        before: Names of the nodes just before it that cannot be compared; one of them may be wrong instead.
    """

    node: str
    operator: str
    module: str | None
    source: str | None
    output: str
    max_rel_diff: float | None
    before: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a clause for the reason of a check."""
        said = f"first differs at node '{self.node}' ({self.operator})"
        said += f" of module '{self.module}'" if self.module else ""
        said += f", {self.source}" if self.source else ""
        if self.before:
            several = f"one of the {len(self.before)} nodes" if len(self.before) > 1 else "the node"
            said += f", or at {several} before it, whose values torch does not have"
        return said

    def figures(self) -> dict[str, Any]:
        """Return the divergence as written to the manifest."""
        found = dataclasses.asdict(self)
        before = found.pop("before")
        return found | ({"or_before": list(before)} if before else {})


def find_divergence(context: CheckContext, case: Case, output: str, compare: Compare) -> Divergence | None:
    """Return the place where an output becomes wrong; None if it cannot be found.

    Args:
        context: The file, the module and the runtime.
        case: Inputs on which the output is wrong.
        output: Name of the output.
        compare: Compares two arrays with the tolerance of the failed check.
    """
    if context.module.inner is None or context.model_path.stat().st_size > _LARGEST:
        return None
    try:
        return _found(context, context.module.inner, case, output, compare)
    except Exception:  # without a diagnosis, the result of the check does not change
        log.debug("the place where %s differs from the module is unknown", output, exc_info=True)
        return None


def _found(context: CheckContext, inner: InnerValues, case: Case, output: str, compare: Compare) -> Divergence | None:
    graph = _without_weights(context.model_path)
    expected = context.module.reference(case.tensors) if case.expected is None else case.expected
    outputs = {s.name: t for s, t in zip(context.signature.outputs, expected, strict=True)}
    comparison = InnerComparison(context, inner, case, compare, graph, outputs)
    sizes = comparison.sizes(output)
    if sizes is None:
        return None
    values = comparison.values(sizes)
    if output not in values or values[output].agrees:
        return None  # the output is right if inner values are outputs too
    return _first(graph, values, output)


def _without_weights(path: Path) -> GraphProto:
    """Read a graph with the types of its values, and only the names of its weights."""
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    if any(w.data_location == onnx.TensorProto.EXTERNAL for w in graph.initializer):
        raise NotImplementedError("external weights")
    weights = [w for w in graph.initializer if np.prod(w.dims) > _SMALL]
    for weight in weights:
        graph.initializer.remove(weight)
        graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    graph = onnx.shape_inference.infer_shapes(model).graph
    graph.initializer.extend(onnx.TensorProto(name=weight.name) for weight in weights)
    return graph


def _first(graph: GraphProto, values: Mapping[str, ValueMatch], output: str) -> Divergence | None:
    right = {name for name, value in values.items() if value.agrees}
    wrong = {name for name, value in values.items() if not value.agrees}
    suspects = _back(graph, output, right)
    number = next((i for i in suspects if wrong & set(graph.node[i].output)), None)
    if number is None:
        return None
    node = graph.node[number]
    name = next(n for n in node.output if n in wrong)
    fixed = _without_data(graph)
    before = [
        graph.node[i] for i in _back(graph, name, right) if i != number and not set(graph.node[i].output) <= fixed
    ]
    if before and name == output and not right - {o.name for o in graph.output}:
        return None  # it could be anywhere
    modules, sources = ({told(n) for n in (node, *before)} for told in (_module, source_of))
    source = sources.pop() if len(sources) == 1 else None  # one operator of torch may become several nodes
    return Divergence(
        node.name,
        node.op_type,
        modules.pop() if len(modules) == 1 else None,
        source,
        output,
        values[name].max_rel_diff,
        tuple(n.name for n in before) if source is None else (),
    )


def _back(graph: GraphProto, value: str, right: Collection[str]) -> list[int]:
    """Return, in order, the indices of the nodes that compute a value, back to the right values."""
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output}
    found, pending = set(), [value]
    while pending:
        number = makers.get(pending.pop())
        if number is not None and number not in found:
            found.add(number)
            pending.extend(name for name in inputs(graph.node[number]) if name not in right)
    return sorted(found)


def _without_data(graph: GraphProto) -> set[str]:
    """Return the values computed only from weights, constants and sizes; the nodes that use them are compared."""
    found = {weight.name for weight in graph.initializer} | {""}
    for node in graph.node:
        if node.op_type in ("Shape", "Size") or set(inputs(node)) <= found:
            found.update(node.output)
    return found


def _module(node: NodeProto) -> str | None:
    if not node.metadata_props and not node.name.startswith("/"):
        return None
    return ".".join(path_of(node)[:-1])
