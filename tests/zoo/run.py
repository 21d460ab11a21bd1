"""Trains a case with ``ONNXExport()``, and checks its file without using the package."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor

from lightning_onnx import ONNXExport
from lightning_onnx.errors import ONNXExportError

from .case import Case, leaves


@dataclasses.dataclass
class Outcome:
    """The result of a case."""

    callback: Any
    module: pl.LightningModule
    path: Path | None
    seconds: float
    warnings: list[str]


class _Batches(torch.utils.data.IterableDataset):
    def __init__(self, batches: list[Any]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return iter(self.batches)


def loader(case: Case, seed: int) -> torch.utils.data.DataLoader:
    """Three batches; the last one is smaller, as without ``drop_last``."""
    torch.manual_seed(seed)
    last = 4 if case.same_size else 3
    batches = [case.batch(4, 0), case.batch(4, 1 if case.varies else 0), case.batch(last, 0)]
    return torch.utils.data.DataLoader(_Batches(batches), batch_size=None)


def trainer(callback: pl.Callback, directory: Path, **options: Any) -> pl.Trainer:
    """Return a quiet Trainer of one epoch on the CPU, with the callback as its only one."""
    settings: dict[str, Any] = {
        "max_epochs": 1,
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "callbacks": [callback],
        "default_root_dir": directory,
    }
    return pl.Trainer(**(settings | options))


def train(case: Case, directory: Path) -> Outcome:
    """Train a case with the callback and find the file."""
    torch.manual_seed(0)
    callback = ONNXExport(dirpath=directory, **case.options)
    started = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        module = _fit_batches(case, callback, directory) if case.fit is None else case.fit(callback, directory)
    said = [str(w.message) for w in caught if "ONNX export" in str(w.message)]
    found = sorted(directory.rglob("*.onnx"), key=lambda p: p.stat().st_mtime)
    return Outcome(callback, module, found[-1] if found else None, time.perf_counter() - started, said)


def _fit_batches(case: Case, callback: pl.Callback, directory: Path) -> pl.LightningModule:
    assert case.make is not None
    module = case.make()
    validated = type(module).validation_step is not pl.LightningModule.validation_step
    trainer(callback, directory, **case.trainer).fit(module, loader(case, 1), loader(case, 2) if validated else None)
    return module


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What became of a case.

    Attributes:
        kind: ``"right"``; ``"limited"``: right at the traced size, with a warning that a dim is static;
            ``"refused"``: an error of the package before training; ``"wrong"``: all else.
        reason: Why it is not right, or empty.
        outcome: The training and its file, unless it was refused.
        error: The error, if it was refused.
    """

    kind: str
    reason: str
    outcome: Outcome | None
    error: Exception | None = None


def judge(case: Case, directory: Path) -> Verdict:
    """Train a case with the callback, and judge its file independently."""
    try:
        outcome = train(case, directory)
    except ONNXExportError as error:
        return Verdict("refused", str(error), None, error)
    problems = check(case, outcome)
    if not problems and outcome.callback.artifact.passed:
        return Verdict("right", "", outcome)
    is_told = any("static" in line for line in outcome.warnings)
    elsewhere = not any(line.startswith(("no file", "same", "the callback")) for line in problems)
    kind = "limited" if problems and is_told and elsewhere else "wrong"
    return Verdict(kind, "; ".join(problems) or "a check failed", outcome)


def check(case: Case, outcome: Outcome) -> list[str]:
    """Compare the file with the module at observed and other sizes; returns the problems."""
    if outcome.path is None:
        return [f"no file: {outcome.callback.failures}"]
    onnx.checker.check_model(str(outcome.path), full_check=True)
    session = onnxruntime.InferenceSession(str(outcome.path), providers=["CPUExecutionProvider"])
    problems = []
    for label, size, variant in _tries(case):
        try:
            problem = _compare(case, outcome.module, session, size, variant)
        except Exception as error:
            problem = f"{type(error).__name__}: {str(error)[:400]}"
        if problem:
            problems.append(f"{label}: {problem}")
    if outcome.callback.failures:
        problems.append(f"the callback says: {outcome.callback.failures}")
    return problems


def _tries(case: Case) -> Iterator[tuple[str, int, int]]:
    yield "same", 4, 0
    if case.batched:
        yield f"batch {case.smallest}", case.smallest, 0
        yield "batch 7", 7, 0
    if case.varies:
        yield "free", 5, 2
        if case.batched:
            yield f"free, batch {case.smallest}", case.smallest, 2


def _compare(case: Case, module: Any, session: Any, size: int, variant: int) -> str | None:
    torch.manual_seed(100 + size + 10 * variant)
    args, kwargs = case.call(case.batch(size, variant))
    expected = _reference(case, module, args, kwargs)
    actual = session.run(None, feeds(case, module, session, args, kwargs))
    if len(actual) != len(expected):
        return f"{len(actual)} outputs, torch has {len(expected)}"
    for number, (a, e) in enumerate(zip(actual, expected, strict=True)):
        if (a.shape, a.dtype) != (e.shape, e.dtype):
            return f"output {number} is {a.dtype}{list(a.shape)}, torch's {e.dtype}{list(e.shape)}"
        if not a.size:
            continue
        scale = max(1.0, float(np.abs(e.astype(np.complex128)).max()))
        worst = float(np.abs(a.astype(np.complex128) - e.astype(np.complex128)).max()) / scale
        if not worst < 1e-3:
            return f"output {number} differs by {worst:.1e} of its scale"
    return None


def _reference(case: Case, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[np.ndarray]:
    """Run the trained module: eval mode, float32 on the CPU, logging without a loop silenced."""
    module.eval().to("cpu")
    if next(module.parameters()).dtype == torch.bfloat16:
        module.float()
    module.__dict__.update(log=lambda *a, **k: None, log_dict=lambda *a, **k: None)
    method = case.options.get("method", "forward")
    with torch.no_grad():
        out = (module if method == "forward" else getattr(module, method))(
            *copy.deepcopy(args), **copy.deepcopy(kwargs)
        )
    return [t.detach().numpy() for t in leaves(out)]


def feeds(
    case: Case, module: Any, session: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Feed by name if the graph uses the names of the parameters, otherwise in order."""
    names = [i.name for i in session.get_inputs()]
    method = inspect.signature(getattr(module, case.options.get("method", "forward")))
    bound = method.bind(*args, **kwargs).arguments
    for name, parameter in method.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD and name in bound:
            bound = {**{k: v for k, v in bound.items() if k != name}, **bound[name]}
    named = dict(_named(bound, ""))
    if not set(names) <= set(named):
        named = dict(zip(names, named.values(), strict=False))
    return {name: named[name].numpy() for name in names}


def _named(value: Any, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield prefix, value
        return
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        value = value._asdict()
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, item in items:
        yield from _named(item, f"{prefix}_{key}" if prefix else str(key))
