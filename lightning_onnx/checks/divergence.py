"""Where a file that fails parity parts from the module: the first of its values that is not what torch computes.

Some values of the file have a counterpart in torch (``lightning_onnx.module.inner_values``); the others are skipped.
The search starts at the wrong output and goes back until values agree. The first wrong value on the way is where they
part, because everything that its node reads is right. It runs after a check has failed, and traces nothing.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, NodeProto
from torch import Tensor

from lightning_onnx.checks.base import CheckContext
from lightning_onnx.module.arrays import feeds, to_numpy
from lightning_onnx.module.cases import Case
from lightning_onnx.module.inner_values import InnerValues
from lightning_onnx.onnxfile.scopes import path_of, source_of
from lightning_onnx.onnxfile.walk import inputs
from lightning_onnx.runtimes.base import Arrays

log = logging.getLogger(__name__)

_LARGEST = 2**30
"""Bytes of a model that is looked into."""

_AT_ONCE = 2**28
"""Bytes of values that are compared in one run."""

_SMALL = 2**10
"""Elements of an initializer that is kept for onnx's shape inference: sizes and axes."""

Array = NDArray[np.generic]


class Compared(Protocol):
    """What ``lightning_onnx.checks.parity.Comparison`` says of two arrays."""

    @property
    def problem(self) -> str | None:
        """What is wrong; None where nothing is."""

    @property
    def kind(self) -> str | None:
        """``"values"`` where the arrays could be subtracted."""

    @property
    def max_rel_diff(self) -> float:
        """Largest difference as a share of the scale."""


Compare = Callable[[str, Array, Array], Compared]
"""Compares what torch gives with what the runtime gives."""


@dataclasses.dataclass(frozen=True)
class Divergence:
    """Where the file parts from the module.

    Attributes:
        node: Name of the node in the file.
        operator: Its operator.
        module: Qualified name of the module that it comes from; None where that is not certain.
        source: Torch's operator that it was made of; None where that is not certain.
        output: The output of the file that is wrong for it.
        max_rel_diff: Largest difference of its value as a share of the scale; None where none can be computed.
        before: Names of the nodes just before it that cannot be compared, of which one may be wrong instead.
    """

    node: str
    operator: str
    module: str | None
    source: str | None
    output: str
    max_rel_diff: float | None
    before: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Say it in one clause."""
        said = f"first differs at node '{self.node}' ({self.operator})"
        said += f" of module '{self.module}'" if self.module else ""
        said += f", {self.source}" if self.source else ""
        if self.before:
            several = f"one of the {len(self.before)} nodes" if len(self.before) > 1 else "the node"
            said += f", or at {several} before it, for which torch has no values"
        return said

    def figures(self) -> dict[str, Any]:
        """Return it as the manifest holds it."""
        found = dataclasses.asdict(self)
        before = found.pop("before")
        return found | ({"or_before": list(before)} if before else {})


def find_divergence(context: CheckContext, case: Case, output: str, compare: Compare) -> Divergence | None:
    """Return where an output comes to be wrong; None where that cannot be told, whatever the cause.

    Args:
        context: The file, the module and the runtime.
        case: Inputs on which the output is wrong.
        output: Its name.
        compare: Compares two arrays with the tolerance of the check that failed.
    """
    if context.module.inner is None or context.model_path.stat().st_size > _LARGEST:
        return None
    try:
        return _found(context, context.module.inner, case, output, compare)
    except Exception:  # a diagnosis is no result: the check stays as it was
        log.debug("where %s parts from the module is not known", output, exc_info=True)
        return None


def _found(context: CheckContext, inner: InnerValues, case: Case, output: str, compare: Compare) -> Divergence | None:
    graph = _without_weights(context.model_path)
    expected = context.module.reference(case.tensors) if case.expected is None else case.expected
    outputs = {s.name: t for s, t in zip(context.signature.outputs, expected, strict=True)}
    search = _Search(context, inner, case, compare, graph, outputs)
    sizes = search.sizes(output)
    if sizes is None:
        return None
    values = search.values(sizes)
    if output not in values or values[output].agrees:
        return None  # it does not fail where inner values are looked at
    return _first(graph, values, output)


def _without_weights(path: Path) -> GraphProto:
    """Read a graph with the types of its values; of the weights it keeps names."""
    model = onnx.load(path, load_external_data=False)
    graph = model.graph
    if any(w.data_location == onnx.TensorProto.EXTERNAL for w in graph.initializer):
        raise NotImplementedError("weights in another file")
    weights = [w for w in graph.initializer if np.prod(w.dims) > _SMALL]
    for weight in weights:
        graph.initializer.remove(weight)
        graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    graph = onnx.shape_inference.infer_shapes(model).graph
    graph.initializer.extend(onnx.TensorProto(name=weight.name) for weight in weights)
    return graph


@dataclasses.dataclass(frozen=True)
class _Value:
    """How a value of the file compares with torch's."""

    agrees: bool
    max_rel_diff: float | None


@dataclasses.dataclass
class _Search:
    """Runs file and module, as many values at once as memory is meant for."""

    context: CheckContext
    inner: InnerValues
    case: Case
    compare: Compare
    graph: GraphProto
    outputs: Mapping[str, Tensor]

    def sizes(self, output: str) -> Counter[str] | None:
        """Return the bytes of all values that torch tells; None where its program is itself not the module."""
        sizes: Counter[str] = Counter()
        told: list[Tensor] = []

        def take(name: str, tensor: Tensor) -> None:
            sizes[name] += tensor.nbytes
            if name == output:
                told.append(tensor.clone())

        self.inner(self.graph, self.case.tensors, take)
        value = to_numpy(self.outputs[output])
        trusted = not told or any(not self.compare(output, value, to_numpy(t)).problem for t in told)
        return sizes if trusted else None

    def values(self, sizes: Mapping[str, int]) -> dict[str, _Value]:
        """Compare all values that have a counterpart, by name."""
        made = [name for node in self.graph.node for name in node.output if name in sizes or name in self.outputs]
        found: dict[str, _Value] = {}
        for names in _portions(made, sizes):
            actual = self._of_file([n for n in names if n not in self.outputs])
            wanted = self._of_module(names)
            compared = {n: self._compared(n, wanted[n], actual[n]) for n in names}
            found |= {name: value for name, value in compared.items() if value is not None}
        return found

    def _of_module(self, names: Collection[str]) -> Mapping[str, list[Tensor]]:
        found = {name: [self.outputs[name]] if name in self.outputs else [] for name in names}

        def take(name: str, tensor: Tensor) -> None:
            if name in found and name not in self.outputs:
                found[name].append(tensor.clone())

        self.inner(self.graph, self.case.tensors, take)
        return found

    def _of_file(self, names: Sequence[str]) -> Arrays:
        """Run the file with inner values as further outputs; a message behind another is merged with it."""
        further = onnx.ModelProto(graph=GraphProto(output=[onnx.ValueInfoProto(name=name) for name in names]))
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "model.onnx"
            shutil.copyfile(self.context.model_path, path)
            with path.open("ab") as file:
                file.write(further.SerializeToString())
            session = self.context.runtime.load(path)
            return session.run(feeds(self.context.signature.inputs, self.case.tensors))

    def _compared(self, name: str, wanted: Sequence[Tensor], actual: Array) -> _Value | None:
        """Compare with what torch has for a value; None where it has another kind of value."""
        arrays = [a for a in map(to_numpy, wanted) if a.dtype == actual.dtype and a.ndim == actual.ndim]
        if not arrays:
            return _Value(False, None) if name in self.outputs else None
        if any(_same_non_finite(array, actual) for array in arrays):
            return _Value(True, None)
        compared = [self.compare(name, array, actual) for array in arrays]
        agrees = any(c.problem is None for c in compared)
        return _Value(agrees, compared[0].max_rel_diff if compared[0].kind == "values" else None)


def _same_non_finite(expected: Array, actual: Array) -> bool:
    """Whether nothing is finite in both, which is no sound output, and may be a mask."""
    if not np.issubdtype(expected.dtype, np.inexact) or expected.size == 0 or np.isfinite(expected).any():
        return False
    return np.array_equal(expected, actual, equal_nan=True)


def _portions(names: Sequence[str], sizes: Mapping[str, int]) -> Iterator[list[str]]:
    portion: list[str] = []
    held = 0
    for name in names:
        if portion and held + sizes.get(name, 0) > _AT_ONCE:
            yield portion
            portion, held = [], 0
        portion.append(name)
        held += sizes.get(name, 0)
    if portion:
        yield portion


# Back from the wrong output ------------------------------------------------------------------------------------------


def _first(graph: GraphProto, values: Mapping[str, _Value], output: str) -> Divergence | None:
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
        return None  # it may be anywhere
    modules, sources = ({told(n) for n in (node, *before)} for told in (_module, source_of))
    source = sources.pop() if len(sources) == 1 else None  # one operator of torch may be several nodes
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
    """Return, in order, the nodes that a value is computed by, as far back as values are right."""
    makers = {name: i for i, node in enumerate(graph.node) for name in node.output}
    found, pending = set(), [value]
    while pending:
        number = makers.get(pending.pop())
        if number is not None and number not in found:
            found.add(number)
            pending.extend(name for name in inputs(graph.node[number]) if name not in right)
    return sorted(found)


def _without_data(graph: GraphProto) -> set[str]:
    """Return the values that are made of weights, constants and sizes alone; what uses them is compared."""
    found = {weight.name for weight in graph.initializer} | {""}
    for node in graph.node:
        if node.op_type in ("Shape", "Size") or set(inputs(node)) <= found:
            found.update(node.output)
    return found


def _module(node: NodeProto) -> str | None:
    if not node.metadata_props and not node.name.startswith("/"):
        return None
    return ".".join(path_of(node)[:-1])
