"""Compares the file with the module in each of several runtimes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.parity import Parity
from lightning_onnx.checks.timing import latency_ratio
from lightning_onnx.errors import ConfigurationError, RuntimeUnavailable, first_line
from lightning_onnx.module.arrays import feeds
from lightning_onnx.module.cases import Case
from lightning_onnx.onnxfile.privacy import without_paths
from lightning_onnx.option_names import known_options
from lightning_onnx.option_values import check_choice, check_number, check_texts
from lightning_onnx.runtimes import base as runtimes
from lightning_onnx.runtimes.base import Description
from lightning_onnx.runtimes.worker import client
from lightning_onnx.runtimes.worker.client import HostedSession

Row = dict[str, Any]


@known_options
@dataclasses.dataclass(frozen=True)
class RuntimeParity:
    """Runs ``Parity`` in several runtimes, each in its own process: a crash fails only one row.

    Its figures have a row for each runtime: ``status`` and ``reason``, ``version``, ``dynamic_batch`` (``"yes"``,
    ``"loop"``: one call per sample, ``"static"``, ``"not tried"``), ``worst_difference`` as a share of the output's
    scale, ``latency_ratio`` to onnxruntime with one thread each, ``precision``, ``device`` and ``provider``.

    Args:
        runtimes: Names, as in ``lightning_onnx.runtimes.base.RUNTIMES``; a runtime that is not installed or has no
            device is skipped.
        require: The runtimes that must not be absent.
        precision: ``"float32"``, or ``"deploy"`` for each runtime's own default.
        time_limit: For one call, in seconds.
        parity: How outputs are compared.

    Example:
        >>> RuntimeParity(("onnxruntime", "openvino"), require=("openvino",)).name
        'runtimes'
    """

    runtimes: tuple[str, ...] = (runtimes.DEFAULT,)
    require: tuple[str, ...] = ()
    precision: str = "float32"
    time_limit: float = 600.0
    parity: Parity = dataclasses.field(default_factory=Parity)
    name: str = dataclasses.field(default="runtimes", init=False)

    def __post_init__(self) -> None:
        """Check the options."""
        runtimes.check_names("runtimes", self.runtimes)
        check_texts(self, "require", runtimes.DEFAULT)
        missing = set(self.require) - set(self.runtimes)
        if missing:
            raise ConfigurationError(
                f"RuntimeParity(require={self.require!r}) has {sorted(missing)}, missing in "
                f"runtimes={self.runtimes!r}. Add them to runtimes."
            )
        check_choice(self, "precision", runtimes.PRECISIONS)
        check_number(self, "time_limit")
        if not isinstance(self.parity, Parity):
            raise ConfigurationError(f"RuntimeParity(parity={self.parity!r}) is invalid. Give one such as Parity().")

    def __call__(self, context: CheckContext) -> CheckResult:
        """Run all cases in all runtimes, one after the other."""
        rows = {name: self.row(name, context) for name in self.runtimes}
        return result(self.name, rows)

    def row(self, name: str, context: CheckContext) -> Row:
        """Return the row of one runtime."""
        runtime = client.hosted(name, time_limit=self.time_limit, precision=self.precision, threads=1)
        try:
            row = {"version": runtime.version()}
            loaded = _Loaded(name, row["version"], runtime.load(context.model_path))
            return row | self._compared(loaded, context.replace(runtime=loaded, inner=None, cases=_cases(context)))
        except RuntimeUnavailable as error:
            required = name in self.require
            reason = f"it is required: {error}" if required else str(error)
            return {"status": "failed" if required else "skipped", "reason": reason}
        except Exception as error:  # it crashed, hung, or cannot load the file
            return {"status": "failed", "reason": without_paths(first_line(error))}
        finally:
            runtime.close()

    def _compared(self, loaded: _Loaded, context: CheckContext) -> Row:
        found = self.parity(context)
        row: Row = {"status": found.status, "reason": found.reason}
        if found.figures:
            worst = max(o["max_rel_diff"] for o in found.figures["outputs"].values())
            # With another shape or dtype, or without the output, there is no difference to measure.
            row["worst_difference"] = None if found.status == "failed" and not worst else worst
        description = loaded.session.describe()
        if found.status == "passed":
            row["dynamic_batch"] = dynamic_batch(context, description)
            row["latency_ratio"] = _latency_ratio(loaded, context)
        shown = dataclasses.asdict(description) if description is not None else {}
        return row | {key: shown.get(key) for key in ("precision", "device", "provider")}


def _cases(context: CheckContext) -> tuple[Case, ...]:
    """Return only cases with observed values: other values give the same results in every runtime."""
    return tuple(case for case in context.cases if case.kind != "values")


@dataclasses.dataclass
class _Loaded:
    """A runtime that has already loaded the file, because loading takes seconds in some runtimes."""

    name: str
    installed: str
    session: HostedSession

    def version(self) -> str:
        return self.installed

    def load(self, model_path: Path) -> HostedSession:
        return self.session


def dynamic_batch(context: CheckContext, description: Description | None) -> str:
    """Return how a runtime that passed handles batches of several sizes."""
    axes = [(i, axis) for i, axis in enumerate(context.signature.batch_axes().values()) if axis is not None]
    if not axes:
        return "static"
    place, axis = axes[0]
    if len({case.tensors[place].shape[axis] for case in context.cases}) < 2:
        return "not tried"
    return description.batch if description is not None else "yes"


def _latency_ratio(loaded: _Loaded, context: CheckContext) -> float:
    """Return the time of a call on the first case divided by onnxruntime's, with one thread each."""
    if loaded.name == runtimes.DEFAULT:
        return 1.0
    default = client.hosted(runtimes.DEFAULT, threads=1).load(context.model_path)
    return latency_ratio(loaded.session, default, feeds(context.signature.inputs, context.cases[0].tensors))


def result(name: str, rows: dict[str, Row]) -> CheckResult:
    """Return the result of the check: failed if one runtime failed, skipped if all were skipped."""
    columns = dict.fromkeys(key for row in rows.values() for key in row)  # each row has all columns
    figures = {"runtimes": {runtime: {key: row.get(key) for key in columns} for runtime, row in rows.items()}}
    by_status = {s: [n for n, row in rows.items() if row["status"] == s] for s in ("failed", "skipped", "passed")}
    status: Any = "failed" if by_status["failed"] else "passed" if by_status["passed"] else "skipped"
    named = by_status["failed"] or by_status["skipped"]
    reason = "; ".join(f"{n}: {rows[n]['reason']}" for n in named) or ("no runtime was requested" if not rows else None)
    if status == "passed" and named:
        reason = f"skipped {reason}"
    return CheckResult(name, status, reason, figures, {"runtimes_passed": float(status == "passed")})
