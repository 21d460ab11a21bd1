"""Measures how fast the file is, compared with its module."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.measuring import Figures, measure, resized
from lightning_onnx.checks.timing import Timed
from lightning_onnx.errors import ConfigurationError
from lightning_onnx.option_names import known_options
from lightning_onnx.option_values import check_choice, check_number
from lightning_onnx.runtimes import base as runtimes

if TYPE_CHECKING:
    from torch import Tensor

EAGER, COMPILED = "torch", "torch.compile"


@known_options
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
        runtimes.check_names("runtimes", self.runtimes)
        sizes = self.batch_sizes
        is_list = isinstance(sizes, Sequence) and not isinstance(sizes, (str, bytes))
        if not is_list or not sizes or not all(type(size) is int and size > 0 for size in sizes):
            raise ConfigurationError(f"Latency(batch_sizes={sizes!r}) is invalid. Give sizes of 1 or more.")
        check_choice(self, "compiled", (False, True))
        check_number(self, "threads", least=1, is_whole=True)
        check_choice(self, "precision", runtimes.PRECISIONS)
        check_number(self, "seconds")
        check_number(self, "max_ratio")

    def __call__(self, context: CheckContext) -> CheckResult:
        """Measure."""
        from lightning_onnx.checks.timed_module import torch_threads
        from lightning_onnx.module.arrays import feeds

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


def _modules(context: CheckContext, tensors: Sequence[Tensor], compiled: bool) -> dict[str, Timed]:
    if context.module.flat is None:
        return {}
    import torch

    from lightning_onnx.checks.timed_module import TimedModule

    names = [spec.name for spec in context.signature.inputs]
    found: dict[str, Timed] = {EAGER: TimedModule(context.module.flat, names, tensors)}
    if compiled:
        found[COMPILED] = TimedModule(torch.compile(context.module.flat), names, tensors)
    return found
