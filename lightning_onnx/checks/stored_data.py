"""Checks any file against test data in ONNX's own layout: whether a runtime returns the stored outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lightning_onnx.artifacts.data_set import read_data_set
from lightning_onnx.checks.comparison import Array, Comparison, compare_arrays, tolerances
from lightning_onnx.checks.scales import scales_of, with_noise
from lightning_onnx.errors import DataSetError, RuntimeUnavailable, first_line
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes.worker import client

_Tolerance = tuple[float | None, float | None]

_NUDGES = 4
"""Runs on inputs that are changed by rounding, where slices of an output are wrong by scales of their own."""


def check(
    model: Path,
    directories: Sequence[Path],
    name: str,
    rtol: float | None = None,
    atol: float | None = None,
    precision: str = "float32",
    runtime: Any = None,
    integers: float = 0.0,
) -> dict[str, Any]:
    """Run a file on its data sets in a runtime.

    Args:
        model: The ONNX file.
        directories: The data sets.
        name: Name of the runtime.
        rtol: Relative tolerance for floats; default: by dtype.
        atol: Tolerance as a share of the output's largest magnitude; default: by dtype.
        precision: ``"float32"``, or ``"deploy"``.
        runtime: The runtime to use instead of the one with this name.
        integers: Share of an output's integers that may differ.

    Returns:
        ``status`` and ``reason``, ``version``, ``data_sets`` and ``worst_difference``, as a share of the scale; of
        integers, it is the share of the elements that differ.
    """
    own = runtime or client.hosted(name, precision=precision)
    try:
        if not directories:
            return {
                "status": "skipped",
                "reason": "there is no test data; test_data='observed' stores some",
            }
        specs = ModelSpecs.read(model)
        sets = [read_data_set(directory, specs) for directory in directories]
        row: dict[str, Any] = {"version": own.version()}
        session = own.load(model)
        problems, worst = [], 0.0
        for data in sets:
            found = session.run(data.inputs)
            for output, expected in data.outputs.items():
                compared = _compared(output, expected, found[output], (rtol, atol))
                if compared.sliced and compared.is_failure and expected.dtype.isbuiltin == 1:
                    changed = [session.run(inputs)[output] for inputs in _nudged(data.inputs)]
                    compared = _without_noise(output, expected, found[output], changed, (rtol, atol))
                if expected.dtype.kind in "iu" and compared.kind == "values" and compared.outside <= integers:
                    compared = dataclasses.replace(compared, problem=None)
                worst = max(worst, compared.outside if expected.dtype.kind in "iu" else compared.max_rel_diff)
                problem = (compared.problem or "").replace("the module returns", "the test data has")
                problems += [f"{output} of {data.name}: {problem}"] if problem else []
        ends = {"status": "failed" if problems else "passed", "reason": problems[0] if problems else None}
        return ends | row | {"data_sets": len(sets), "worst_difference": worst}
    except (RuntimeUnavailable, DataSetError) as error:
        return {"status": "skipped", "reason": str(error)}
    except Exception as error:  # any exception of a runtime is reported
        return {"status": "failed", "reason": first_line(error)}
    finally:
        if runtime is None:
            own.close()


def _compared(name: str, expected: Array, found: Any, tolerance: _Tolerance) -> Comparison:
    """Compare an output with the stored one; equal arrays are right also where nothing is finite."""
    if not isinstance(found, np.ndarray):
        return Comparison(name, f"it is a {type(found).__name__}, but the test data has {expected.dtype}")
    if expected.dtype.isbuiltin != 1 and found.dtype == expected.dtype:
        expected, found = (a.astype(np.float32) for a in (expected, found))  # numpy cannot compare these types
    if found.dtype == expected.dtype and np.array_equal(found, expected, equal_nan=expected.dtype.kind in "fc"):
        return Comparison(name)
    return compare_arrays(name, expected, found, *tolerance)


def _nudged(inputs: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield inputs whose floats are changed by rounding."""
    generator = np.random.default_rng(0)
    for _ in range(_NUDGES):
        yield {
            name: (x * (1 + 4 * np.finfo(x.dtype).eps * generator.uniform(-1, 1, x.shape))).astype(x.dtype)
            if isinstance(x, np.ndarray) and x.dtype in (np.float32, np.float64)
            else x
            for name, x in inputs.items()
        }


def _without_noise(
    name: str, expected: Array, found: Array, changed: Sequence[Array], tolerance: _Tolerance
) -> Comparison:
    """Compare once more, with slices that change as much when the inputs change by rounding judged by that."""
    atol = tolerances(expected.dtype, *tolerance)[1]
    scales = with_noise(scales_of(expected), found, changed, atol)
    return compare_arrays(name, expected, found, *tolerance, scales)
