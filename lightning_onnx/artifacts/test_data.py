"""Writes test data in ONNX's own layout, ``test_data_set_0/input_0.pb`` and ``output_0.pb``, for onnxruntime's tools.

Unless asked for otherwise, the values are synthetic, so that no training data travels: shapes and dtypes are those of
the observed inputs, floats have their mean and spread, integers their range.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.module.values.drawn import TRIES, drawn_like

Reference = Callable[[Sequence[Tensor]], list[Tensor]]

IsStable = Callable[[Sequence[Tensor], Sequence[Tensor]], bool]
"""Tells, of inputs and the module's outputs for them, whether another program can give the same outputs."""


@dataclasses.dataclass(frozen=True)
class TestData:
    """Inputs, and the module's outputs for them.

    Attributes:
        inputs: One tensor for each input of the graph.
        outputs: One for each output.
    """

    __test__ = False  # no test, whatever pytest thinks of the name

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


@dataclasses.dataclass(frozen=True)
class NoTestData:
    """The reason why there are no test data.

    Attributes:
        refusal: The exception with which the module refused the first inputs; None if their outputs were not finite.
    """

    refusal: Exception | None = None


def make_test_data(
    tensors: Sequence[Tensor], reference: Reference, is_stable: IsStable, kind: str, most: int = TRIES
) -> TestData | NoTestData:
    """Return test data, or why the module gives no finite outputs on any inputs that were tried.

    Args:
        tensors: Observed inputs, whose statistics the synthetic ones take.
        reference: The module: flat tensors in, flat tensors out.
        is_stable: Says which inputs are better: those on which another program can give the same outputs.
        kind: ``"synthetic"`` or ``"observed"``.
        most: On how many synthetic inputs the module may be run.
    """
    unstable, missing = None, None
    tried = (drawn_like(tensors, seed) for seed in range(min(most, TRIES))) if kind == "synthetic" else [tuple(tensors)]
    for inputs in tried:
        try:
            outputs = reference(inputs)
        except Exception as error:  # a module may refuse values that do not occur in training
            missing = missing or NoTestData(error)
            continue
        if all(bool(torch.isfinite(o).all()) for o in outputs):
            made = TestData(inputs, tuple(outputs))
            if is_stable(inputs, outputs):
                return made
            unstable = unstable or made
        missing = missing or NoTestData()
    return unstable or missing or NoTestData()


def write_test_data(directory: Path, signature: Signature, data: TestData) -> None:
    """Write test data.

    Args:
        directory: The ``test_data_set_0`` to make.
        signature: Names of the inputs and outputs.
        data: What to write.
    """
    _write(directory, "input", [s.name for s in signature.inputs], data.inputs)
    _write(directory, "output", [s.name for s in signature.outputs], data.outputs)


def _write(directory: Path, kind: str, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
    from onnx import numpy_helper

    directory.mkdir(exist_ok=True)
    for i, (name, tensor) in enumerate(zip(names, tensors, strict=True)):
        proto = numpy_helper.from_array(to_numpy(tensor), name)
        (directory / f"{kind}_{i}.pb").write_bytes(proto.SerializeToString(deterministic=True))
