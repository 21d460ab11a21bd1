"""What differs between two artifacts: what serves now, and what is to replace it. It needs no torch."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from lightning_onnx.artifacts import data_set
from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.checks.client_diff import changed_meaning, incompatible, meaning
from lightning_onnx.checks.comparison import Comparison, compare_arrays
from lightning_onnx.checks.weights_diff import compare_weights
from lightning_onnx.errors import ArtifactError, DataSetError, RuntimeUnavailable, first_line
from lightning_onnx.manifest.fields import Fields
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.onnxfile.outline import outline
from lightning_onnx.onnxfile.shared_weights import size_of
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes.worker import client

Pair = tuple[Any, Any]
"""The value in the first artifact, and in the second; None where one has none."""


@dataclasses.dataclass(frozen=True)
class OutputDiff:
    """How one output differs on the same inputs.

    Attributes:
        max_rel_diff: Largest absolute difference as a share of the scale of the first one's output; None where they
            cannot be compared, and for integers, bools and strings.
        top1_agreement: Share of rows whose largest element has the same index; None for rows of one element.
        problem: Why they cannot be compared, such as another shape.
        differing: Share of the elements that differ; None for floats, which have ``max_rel_diff``.
    """

    max_rel_diff: float | None
    top1_agreement: float | None = None
    problem: str | None = None
    differing: float | None = None


@dataclasses.dataclass(frozen=True)
class ArtifactDiff:
    """What differs between two artifacts.

    Attributes:
        signature: Both signatures, as text.
        opset: Both opset versions.
        bytes: Sizes of the files of both models in bytes, with weights beside them.
        operators: By operator, how often it occurs in each, where that differs.
        weights: By module, the largest relative change of a weight: the norm of the difference, divided by the first
            one's norm. Infinite for a weight that has another shape, or that only one of the models has.
        weights_compared: Number of weights in both.
        constants: Number of constants in both; they are compared by value.
        constants_changed: Number of constants that only one of the two has.
        checks: By check or variant, how it ended in each.
        metrics: By metric, the value of each file, and the monitored score of each checkpoint.
        outputs: By output, how it differs on the first one's test data.
        no_outputs: Why the outputs were not compared; None if they were.
        contract: What inputs and outputs mean in each, where that differs.
        incompatible: Why clients of the first cannot use the second as it is.
    """

    signature: Pair
    opset: Pair
    bytes: Pair
    operators: Mapping[str, Pair]
    weights: Mapping[str, float]
    weights_compared: int
    constants: int
    constants_changed: int
    checks: Mapping[str, Pair]
    metrics: Mapping[str, Pair]
    outputs: Mapping[str, OutputDiff]
    no_outputs: str | None = None
    contract: Mapping[str, Pair] = dataclasses.field(default_factory=dict)
    incompatible: tuple[str, ...] = ()

    @property
    def worse(self) -> list[str]:
        """Names of the checks and variants that passed only in the first, or failed only in the second."""
        return [
            name
            for name, (before, now) in self.checks.items()
            if before != now and (before == "passed" or now == "failed")
        ]


def compare(first: ONNXArtifact, second: ONNXArtifact, runtime: str) -> ArtifactDiff:
    """Compare two artifacts.

    Args:
        first: The artifact that serves now.
        second: The artifact that is to replace it.
        runtime: Name of the runtime that runs both on the test data of the first.

    Raises:
        ArtifactError: If a model cannot be read.
    """
    both = (first, second)
    files = [_File.of(artifact) for artifact in both]
    weights = compare_weights(*(file.model for file in files))
    records = [artifact.record for artifact in both]
    try:
        outputs, problem = _outputs(first, second, runtime), None
    except (RuntimeUnavailable, DataSetError) as error:
        outputs, problem = {}, str(error)
    except Exception as error:  # any exception of a runtime is reported
        outputs, problem = {}, first_line(error)
    return ArtifactDiff(
        _pair(str(record.signature) for record in records),
        _pair(record.model.opset for record in records),
        _pair(file.bytes for file in files),
        _changed(*(file.operators for file in files)),
        weights.modules,
        weights.compared,
        weights.constants,
        weights.constants_changed,
        _changed(*map(_ends, records), all_of_them=True),
        _changed(*map(_metrics, records), all_of_them=True),
        outputs,
        problem,
        changed_meaning(*(meaning(record.contract) for record in records)),
        tuple(incompatible(*records)),
    )


@dataclasses.dataclass(frozen=True)
class _File:
    """What is read of a model: all of it, its operators by how often they occur, and the size of its files."""

    model: onnx.ModelProto
    operators: Mapping[str, int]
    bytes: int

    @classmethod
    def of(cls, artifact: ONNXArtifact) -> _File:
        path = artifact.model_path
        try:  # a file from anybody: weights may be missing in the file beside it, names may be no text
            model = onnx.load(str(path), "protobuf")
            for tensor in model.graph.initializer:
                numpy_helper.to_array(tensor)
            return cls(model, dict(outline(model).operators), size_of(path))
        except Exception as error:
            raise ArtifactError(
                f"{path} cannot be read ({first_line(error)}). Do not use this artifact; export again, or get it again "
                "from where it was exported."
            ) from error


def _pair(values: Any) -> Pair:
    first, second = values
    return first, second


def _changed(first: Mapping[str, Any], second: Mapping[str, Any], *, all_of_them: bool = False) -> dict[str, Pair]:
    names = dict.fromkeys([*first, *second])
    pairs = {name: (first.get(name), second.get(name)) for name in names}
    return {name: pair for name, pair in pairs.items() if all_of_them or pair[0] != pair[1]}


def _ends(manifest: Manifest) -> dict[str, str]:
    ends: dict[str, str] = {check.name: check.status for check in manifest.checks}
    return ends | {f"variant {variant.name}": variant.status for variant in manifest.variants}


def _metrics(manifest: Manifest) -> dict[str, float]:
    found = {}
    if manifest.source.monitor is not None and manifest.source.score is not None:
        found[f"{manifest.source.monitor} of the checkpoint"] = manifest.source.score
    for check in manifest.checks:
        for name, row in Fields(check.figures, "checks.figures").objects_by_name("metrics").items():
            value = row.optional("onnx", float)
            if value is not None:
                found[name] = value
    return found


def _outputs(first: ONNXArtifact, second: ONNXArtifact, runtime: str) -> dict[str, OutputDiff]:
    """Run both on the test data of the first.

    Raises:
        DataSetError: If the first has none, or it does not fit.
        RuntimeUnavailable: If the runtime is not installed.
    """
    sets = data_set.find_data_sets(data_set.folder_of(first.model_path))
    if not sets:
        raise DataSetError(
            f"{first.directory} has no test data. Export with test_data='synthetic', or with 'observed' if "
            "its notes say that the module does not run on synthetic inputs."
        )
    specs = [ModelSpecs.read(artifact.model_path) for artifact in (first, second)]
    inputs = data_set.read_data_set(sets[0], specs[0]).inputs
    names = [{spec.name for spec in own.inputs} for own in specs]
    if names[0] != names[1]:
        raise DataSetError(f"the inputs are {sorted(names[0])} and {sorted(names[1])}")
    with contextlib.closing(client.hosted(runtime)) as runs:
        expected, found = (runs.load(artifact.model_path).run(dict(inputs)) for artifact in (first, second))
    return {name: _compared(name, expected[name], found.get(name)) for name in expected}


def _compared(name: str, expected: Any, found: Any) -> OutputDiff:
    if not isinstance(expected, np.ndarray) or not isinstance(found, np.ndarray):
        return OutputDiff(None, problem="it is in one of the two only, or no tensor")
    result: Comparison = compare_arrays(name, expected, found)
    if result.problem is not None and result.kind != "values":
        problem = result.problem.replace("the module returns", "the first has")
        return OutputDiff(None, problem=problem.replace("the module's output", "the first's output"))
    if not np.issubdtype(expected.dtype, np.inexact):
        return OutputDiff(None, differing=result.outside)
    return OutputDiff(result.max_rel_diff, result.top1_agreement)
