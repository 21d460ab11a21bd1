"""Compares the inner values of a file with the module's: runs both, and compares values by name."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import GraphProto
from torch import Tensor

from lightning_onnx.checks.base import CheckContext
from lightning_onnx.checks.comparison import Array, Comparison
from lightning_onnx.module.arrays import feeds, to_numpy
from lightning_onnx.module.cases import Case
from lightning_onnx.module.inner_values import InnerValues
from lightning_onnx.onnxfile.shared_weights import SHARED
from lightning_onnx.runtimes.base import Arrays

_AT_ONCE = 2**28
"""Maximum size of the values compared in one run, in bytes."""

Compare = Callable[[str, Array, Array], Comparison]
"""Compares torch's array with the runtime's, under a name."""


@dataclasses.dataclass(frozen=True)
class ValueMatch:
    """The comparison of a value of the file with torch's values.

    Attributes:
        agrees: Whether the value equals one of torch's.
        max_rel_diff: Largest difference as a share of the scale; None if it cannot be computed.
    """

    agrees: bool
    max_rel_diff: float | None


@dataclasses.dataclass(frozen=True)
class InnerComparison:
    """Runs the file and the module, with as many values at once as fit in the memory limit.

    Attributes:
        context: The file, the module and the runtime.
        inner: Runs the module and reports its inner values.
        case: The inputs.
        compare: Compares two arrays with the tolerance of the check.
        graph: The graph of the file.
        outputs: The module's outputs by name.
    """

    context: CheckContext
    inner: InnerValues
    case: Case
    compare: Compare
    graph: GraphProto
    outputs: Mapping[str, Tensor]

    def sizes(self, output: str) -> Counter[str] | None:
        """Return the size of each value that torch reports, in bytes; None if torch's program differs from the module.

        Args:
            output: Name of the output used to compare the program with the module.
        """
        sizes: Counter[str] = Counter()
        reported: list[Tensor] = []

        def on_value(name: str, tensor: Tensor) -> None:
            sizes[name] += tensor.nbytes
            if name == output:
                reported.append(tensor.clone())

        self.inner(self.graph, self.case.tensors, on_value)
        value = to_numpy(self.outputs[output])
        trusted = not reported or any(not self.compare(output, value, to_numpy(t)).problem for t in reported)
        return sizes if trusted else None

    def values(self, sizes: Mapping[str, int]) -> dict[str, ValueMatch]:
        """Compare all values that have a counterpart, by name.

        Args:
            sizes: The result of ``sizes``.
        """
        made = [name for node in self.graph.node for name in node.output if name in sizes or name in self.outputs]
        found: dict[str, ValueMatch] = {}
        for names in _portions(made, sizes):
            actual = self._of_file([n for n in names if n not in self.outputs])
            wanted = self._of_module(names)
            compared = {n: self._compared(n, wanted[n], actual[n]) for n in names}
            found |= {name: value for name, value in compared.items() if value is not None}
        return found

    def _of_module(self, names: Collection[str]) -> Mapping[str, list[Tensor]]:
        found = {name: [self.outputs[name]] if name in self.outputs else [] for name in names}

        def on_value(name: str, tensor: Tensor) -> None:
            if name in found and name not in self.outputs:
                found[name].append(tensor.clone())

        self.inner(self.graph, self.case.tensors, on_value)
        return found

    def _of_file(self, names: Sequence[str]) -> Arrays:
        """Run the file with inner values as additional outputs; protobuf merges concatenated messages."""
        further = onnx.ModelProto(graph=GraphProto(output=[onnx.ValueInfoProto(name=name) for name in names]))
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / "model.onnx"
            shutil.copyfile(self.context.model_path, path)
            for shared in self.context.model_path.parent.glob(SHARED):
                shutil.copyfile(shared, path.with_name(SHARED))
            with path.open("ab") as file:
                file.write(further.SerializeToString())
            session = self.context.runtime.load(path)
            return session.run(feeds(self.context.signature.inputs, self.case.tensors))

    def _compared(self, name: str, wanted: Sequence[Tensor], actual: Array) -> ValueMatch | None:
        """Compare a value with torch's; return None if torch's has another dtype or rank."""
        arrays = [a for a in map(to_numpy, wanted) if a.dtype == actual.dtype and a.ndim == actual.ndim]
        if not arrays:
            return ValueMatch(False, None) if name in self.outputs else None
        if any(_same_non_finite(array, actual) for array in arrays):
            return ValueMatch(True, None)
        compared = [self.compare(name, array, actual) for array in arrays]
        agrees = any(c.problem is None for c in compared)
        return ValueMatch(agrees, compared[0].max_rel_diff if compared[0].kind == "values" else None)


def _same_non_finite(expected: Array, actual: Array) -> bool:
    """Tell whether both arrays are equal without any finite element: as an inner value, this may be a mask."""
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
