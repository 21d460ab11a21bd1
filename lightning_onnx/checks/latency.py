"""Measures how fast the file is, compared with its module."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.timing import Timed, TimedModule, in_turns, torch_threads
from lightning_onnx.errors import ConfigurationError, RuntimeUnavailable, first_line
from lightning_onnx.module.arrays import feeds
from lightning_onnx.runtimes import base as runtimes
from lightning_onnx.runtimes.base import Arrays
from lightning_onnx.runtimes.worker import client

EAGER, COMPILED = "torch", "torch.compile"

Figures = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Latency:
    """Measures the module, and the file in several runtimes, in turns, after uncounted warm-up calls.

    Its figures are a table for each batch size, with ``ratio`` (median time divided by the module's), ``p50_ms``,
    ``p95_ms`` and ``items_per_second``, and a table with ``load_seconds`` and ``memory_mib``, the peak growth of the
    runtime's process. They mean little while training is running: use ``when="fit_end"``.

    Args:
        batch_sizes: The batch sizes to measure; a static batch is measured at its own size.
        runtimes: Names, as in ``lightning_onnx.runtimes.base.RUNTIMES``.
        compiled: Whether to measure ``torch.compile`` of the module as well; compiling takes seconds to minutes.
        threads: Number of threads of each program.
        precision: ``"float32"``, or ``"deploy"`` for each runtime's own default.
        seconds: Approximate measuring time of each program at each batch size.
        max_ratio: The highest allowed ``ratio`` of onnxruntime at any batch size; default: no limit.

    Example:
        >>> Latency(batch_sizes=(1, 32), max_ratio=1.5).name
        'latency'
    """

    batch_sizes: Sequence[int] = (1, 8)
    runtimes: Sequence[str] = (runtimes.DEFAULT,)
    compiled: bool = False
    threads: int = 1
    precision: str = "float32"
    seconds: float = 1.0
    max_ratio: float | None = None
    name: str = dataclasses.field(default="latency", init=False)

    def __post_init__(self) -> None:
        """Check the options."""
        for runtime in self.runtimes:
            runtimes.check_name(runtime)
        if not self.batch_sizes or not all(type(size) is int and size > 0 for size in self.batch_sizes):
            raise ConfigurationError(f"Latency(batch_sizes={self.batch_sizes!r}) is invalid. Give sizes of 1 or more.")
        if type(self.threads) is not int or self.threads < 1:
            raise ConfigurationError(f"Latency(threads={self.threads!r}) is invalid. Give a number of 1 or more.")

    def __call__(self, context: CheckContext) -> CheckResult:
        """Measure."""
        if not context.cases:
            return CheckResult(self.name, "skipped", "there are no inputs to measure with")
        tensors = context.cases[0].tensors
        modules = _modules(context, tensors, self.compiled)
        inputs = feeds(context.signature.inputs, tensors)
        by_size = resized(inputs, context.signature.batch_axes(), self.batch_sizes)
        with torch_threads(self.threads):
            figures, absent, broken = measure(
                context.model_path,
                by_size,
                self.runtimes,
                modules,
                threads=self.threads,
                precision=self.precision,
                seconds=self.seconds,
            )
        return self._result(figures, absent, broken)

    def _result(self, figures: Figures, absent: Mapping[str, str], broken: Mapping[str, str]) -> CheckResult:
        tables = {key: value for key, value in figures.items() if key.startswith("batch_")}
        ran = {name for table in tables.values() for name in table} & set(self.runtimes)
        reasons = "; ".join(f"{name}: {reason}" for name, reason in (broken or absent).items()) or None
        scalars = {
            f"latency_{name}_{size}": table[runtimes.DEFAULT][name]
            for size, table in tables.items()
            for name in ("ratio", "p50_ms")
            if runtimes.DEFAULT in table
        }
        if broken:
            return CheckResult(self.name, "failed", reasons, figures, scalars)
        if not ran:
            return CheckResult(self.name, "skipped", reasons or "no runtime was requested", figures, scalars)
        slow = self._slow(tables)
        return CheckResult(self.name, "failed" if slow else "passed", slow or reasons, figures, scalars)

    def _slow(self, tables: Mapping[str, Mapping[str, Any]]) -> str | None:
        """Return a reason if onnxruntime is slower than allowed."""
        if self.max_ratio is None:
            return None
        for key, table in tables.items():
            if runtimes.DEFAULT not in table or EAGER not in table:
                return "max_ratio compares onnxruntime with the module, but one of them was not measured"
            ratio = table[runtimes.DEFAULT]["ratio"]
            if ratio > self.max_ratio:
                size = key.removeprefix("batch_")
                return f"at batch {size} onnxruntime takes {ratio:g} x the module's time; {self.max_ratio:g} is allowed"
        return None


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


def _modules(context: CheckContext, tensors: Sequence[Tensor], compiled: bool) -> dict[str, Timed]:
    if context.module.flat is None:
        return {}
    names = [spec.name for spec in context.signature.inputs]
    found: dict[str, Timed] = {EAGER: TimedModule(context.module.flat, names, tensors)}
    if compiled:
        found[COMPILED] = TimedModule(torch.compile(context.module.flat), names, tensors)
    return found


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
