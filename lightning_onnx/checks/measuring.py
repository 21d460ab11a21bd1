"""Measures how fast a file is in several runtimes, and modules beside it; it does not need torch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.checks.timing import Timed, in_turns
from lightning_onnx.errors import RuntimeUnavailable, first_line
from lightning_onnx.runtimes.base import Arrays
from lightning_onnx.runtimes.worker import client

Figures = dict[str, Any]


def measure(
    model_path: Path,
    inputs: Mapping[int, Arrays],
    names: Sequence[str],
    modules: Mapping[str, Timed],
    *,
    threads: int,
    precision: str = "float32",
    seconds: float = 1.0,
) -> tuple[Figures, dict[str, str], dict[str, str]]:
    """Measure a file and modules; ratios are relative to the first program.

    Args:
        model_path: The ONNX file.
        inputs: Inputs by batch size, then by name.
        names: Names of the runtimes.
        modules: Programs in this process, by name.
        threads: Number of threads of each runtime.
        precision: As in ``Latency``.
        seconds: Approximate measuring time of each program at each batch size.

    Returns:
        The tables, why each absent runtime is absent, and the errors of programs.
    """
    programs: dict[str, Timed] = {}
    loading: dict[str, Any] = {}
    absent: dict[str, str] = {}
    broken: dict[str, str] = {}
    tables: Figures = {}
    with contextlib.ExitStack() as stack:
        for name, module in modules.items():
            _tried(name, module, inputs, programs, broken)
        for name in names:
            runtime = client.hosted(name, own_process=True, threads=threads, precision=precision)
            stack.callback(runtime.close)
            try:
                session = runtime.load(model_path)
            except RuntimeUnavailable as error:
                absent[name] = str(error)
                continue
            except Exception as error:  # any exception of a runtime is reported
                broken[name] = first_line(error)
                continue
            if _tried(name, session, inputs, programs, broken):
                added = session.added_memory()
                loading[name] = {
                    "load_seconds": float(f"{session.load_seconds:.3g}"),
                    "memory_mib": None if added is None else round(added / 2**20, 1),
                }
        for size, of_size in inputs.items() if programs else ():
            tables[f"batch_{size}"] = _table(in_turns(programs, of_size, seconds), size)
    return {"threads": threads, "precision": precision, **tables, "loading": loading, "absent": absent}, absent, broken


def _tried(
    name: str, program: Timed, inputs: Mapping[int, Arrays], programs: dict[str, Timed], broken: dict[str, str]
) -> bool:
    """Add a program if it runs at every size; otherwise it would stop the measurement of all others."""
    try:
        for of_size in inputs.values():
            program.timed(of_size, 1)
    except Exception as error:
        broken[name] = first_line(error)
        return False
    programs[name] = program
    return True


def _table(took: Mapping[str, Sequence[float]], size: int) -> dict[str, dict[str, float]]:
    first = float(np.median(next(iter(took.values()))))
    rows = {}
    for name, seconds in took.items():
        p50, p95 = (float(p) for p in np.percentile(seconds, (50, 95)))
        figures = {"ratio": p50 / first, "p50_ms": p50 * 1e3, "p95_ms": p95 * 1e3, "items_per_second": size / p50}
        rows[name] = {key: float(f"{value:.4g}") for key, value in figures.items()}
    return rows


def resized(inputs: Arrays, axes: Mapping[str, int | None], sizes: Sequence[int]) -> dict[int, Arrays]:
    """Return inputs for each batch size, with rows repeated or cut; if the batch is static, the unchanged inputs.

    Args:
        inputs: Inputs by name.
        axes: The batch dim of each input by name, or None.
        sizes: The batch sizes.
    """
    if all(axes.get(name) is None for name in inputs):
        return {next((value.shape[0] for value in inputs.values() if value.ndim), 1): dict(inputs)}
    return {size: {name: _rows(value, axes.get(name), size) for name, value in inputs.items()} for size in sizes}


def _rows(value: NDArray[np.generic], axis: int | None, size: int) -> NDArray[np.generic]:
    return value if axis is None else np.ascontiguousarray(value.take(np.arange(size) % value.shape[axis], axis))
