"""``python -m tests.zoo.isolated.one CASE FILE`` runs a case in its library's environment."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import json
import logging
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import torch

from lightning_onnx.training.exporter import Exporter
from lightning_onnx.training.jobs import Fit
from tests.zoo.case import Case
from tests.zoo.run import Outcome, Verdict, judge

from .library import Library, all_libraries
from .result import Result, shortened


def main(name: str, path: Path) -> None:
    """Run the case of this name, and write its result as JSON."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    library, case = next((found, case) for found in all_libraries() for case in found.cases if case.name == name)
    path.write_text(json.dumps(dataclasses.asdict(run(library, case))), encoding="utf-8")


def run(library: Library, case: Case) -> Result:
    """Train a case, judge its file, and export the trained module without the package as well."""
    version = importlib.metadata.version(library.name)
    result = Result(library.name, version, case.name, "wrong", expected=case.limit or "")
    preflight = Preflight()
    with tempfile.TemporaryDirectory() as directory:
        try:
            with mock.patch.object(Exporter, "preflight", preflight.call):
                verdict = judge(case, Path(directory))
        except Exception as error:
            traceback.print_exc()
            return dataclasses.replace(result, reason=shortened(f"{type(error).__name__}: {error}"))
        outcome = verdict.outcome
        if verdict.error is not None:
            traceback.print_exception(verdict.error)
        print(verdict.reason, *(() if outcome is None else outcome.warnings), sep="\n", file=sys.stderr)
        module = preflight.module if outcome is None else outcome.module
        plain, plain_error = (None, "") if module is None else plain_export(case, module, Path(directory))
        free = () if outcome is None else free_dims(outcome)
    return dataclasses.replace(
        result,
        kind=verdict.kind,
        reason=shortened(told(verdict)),
        free=free,
        preflight=preflight.seconds,
        plain=plain,
        plain_error=plain_error,
    )


class Preflight:
    """Watches the exports before the first epoch.

    Attributes:
        seconds: The time of all of them; None if there was none.
        module: The user's module; None if there was none.
    """

    def __init__(self) -> None:
        self.seconds: float | None = None
        self.module: pl.LightningModule | None = None
        original = Exporter.preflight

        def call(exporter: Exporter, fit: Fit, *args: Any) -> bool:
            self.module = fit.module
            started = time.perf_counter()
            try:
                return original(exporter, fit, *args)
            finally:
                self.seconds = round((self.seconds or 0.0) + time.perf_counter() - started, 1)

        self.call = call


def told(verdict: Verdict) -> str:
    """Return why a case is not right; if a dim is static, the warning that says so."""
    said = [] if verdict.outcome is None else [line for line in verdict.outcome.warnings if "static" in line]
    return said[0].removeprefix("ONNX export: ") if said and verdict.kind == "limited" else verdict.reason


def free_dims(outcome: Outcome) -> tuple[str, ...]:
    """Return the names of the dynamic dims of a file's inputs."""
    if outcome.callback.artifact is None:
        return ()
    dims = (dim for spec in outcome.callback.artifact.signature.inputs for dim in spec.shape)
    return tuple(dict.fromkeys(dim for dim in dims if isinstance(dim, str)))


def plain_export(case: Case, module: pl.LightningModule, directory: Path) -> tuple[float | None, str]:
    """Return the seconds of ``torch.onnx.export`` on the module and a batch, or its error."""
    if "method" in case.options:
        return None, "it exports forward only"
    module.eval()
    args, kwargs = case.call(case.batch(4, 0))
    if args and isinstance(args[-1], dict):
        args = (*args, {})  # torch takes a dict at the end for the keyword arguments
    started = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(module, args, directory / "plain.onnx", kwargs=kwargs, dynamo=True, verbose=False)
    except Exception as error:
        cause = error.__cause__ or error
        return None, shortened(f"{type(cause).__name__}: {str(cause).strip()}", 160)
    return round(time.perf_counter() - started, 1), ""


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
