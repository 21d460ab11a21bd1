"""Checks any file against test data in ONNX's own layout: whether a runtime returns the stored outputs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.artifacts.data_set import read_data_set
from lightning_onnx.checks.parity import Parity
from lightning_onnx.checks.runtimes import Row
from lightning_onnx.errors import DataSetError, RuntimeUnavailable, first_line
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes.worker import client


def check(
    model: Path,
    directories: Sequence[Path],
    name: str,
    parity: Parity,
    precision: str = "float32",
    runtime: Any = None,
) -> Row:
    """Run a file on its data sets in a runtime.

    Args:
        model: The ONNX file.
        directories: The data sets.
        name: Name of the runtime.
        parity: How outputs are compared.
        precision: ``"float32"``, or ``"deploy"``.
        runtime: The runtime to use instead of the one with this name.

    Returns:
        ``status`` and ``reason``, ``version``, ``data_sets`` and ``worst_difference``, as a share of the scale.
    """
    own = runtime or client.hosted(name, precision=precision)
    try:
        if not directories:
            return {"status": "skipped", "reason": "there is no test data"}
        specs = ModelSpecs.read(model)
        sets = [read_data_set(directory, specs) for directory in directories]
        row: Row = {"version": own.version()}
        session = own.load(model)
        problems, worst = [], 0.0
        for data in sets:
            found = session.run(data.inputs)
            for output, expected in data.outputs.items():
                problem, difference = _compared(parity, output, expected, found[output])
                worst = max(worst, difference)
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


def _compared(parity: Parity, name: str, expected: NDArray[np.generic], found: Any) -> tuple[str | None, float]:
    """Return the problem of an output, if any, and the largest difference as a share of its scale."""
    if not isinstance(found, np.ndarray):
        return f"it is a {type(found).__name__}, but the test data has {expected.dtype}", 0.0
    if not expected.dtype.isbuiltin and found.dtype == expected.dtype:
        expected, found = (a.astype(np.float32) for a in (expected, found))  # numpy cannot compare these types
    if found.dtype == expected.dtype and np.array_equal(found, expected, equal_nan=expected.dtype.kind in "fc"):
        return None, 0.0  # also if nothing is finite, which parity with a module would fail
    compared = parity.compare_output(name, expected, found)
    return (compared.problem or "").replace("the module returns", "the test data has") or None, compared.max_rel_diff
