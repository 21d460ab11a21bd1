"""``prepare`` once, ``produce`` for every set of weights; ``export`` is both, without a Trainer."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from lightning_onnx.artifacts import artifact as artifacts
from lightning_onnx.artifacts import staging, test_data
from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.validation import NO_LOADERS, Call, Loaders, Validation
from lightning_onnx.errors import SampleError, first_line
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.weights import source
from lightning_onnx.onnxfile import compatibility
from lightning_onnx.onnxfile.head import lower_ir_version
from lightning_onnx.onnxfile.privacy import without_paths
from lightning_onnx.pipeline import manifest
from lightning_onnx.pipeline.prepare import Plan
from lightning_onnx.report.report import Report
from lightning_onnx.runtimes.worker import client
from lightning_onnx.tracing.graph import inner_values
from lightning_onnx.variants import judging

log = logging.getLogger(__name__)

_NO_WEIGHTS = "the file holds no weights (export_params=False)"


def produce(
    plan: Plan,
    module: nn.Module,
    directory: Path,
    source: source.Source,
    *,
    started: float | None = None,
    concurrent: bool = False,
    replace: bool = False,
    step: Callable[[str], None] = lambda name: None,
    loaders: Loaders = NO_LOADERS,
) -> ONNXArtifact:
    """Write, check and commit one artifact.

    Args:
        plan: The result of ``prepare`` for a module of the same structure.
        module: A private copy with the weights to export.
        directory: The artifact's directory.
        source: Where the weights come from.
        started: ``time.perf_counter()`` at which the export began; default: now.
        beside: Whether a training goes on meanwhile, which is to keep its cores and its random state.
        replace: Whether an artifact that is there goes.
        step: Is told the name of each stage, for people who wait.
        loaders: Validation batches, for the checks that ask for them.

    Returns:
        The artifact; it is kept and marked where a check failed.

    Raises:
        ArtifactError: If it cannot be written.
    """
    started = time.perf_counter() if started is None else started
    config = plan.config
    flat = FlatModule(module, config.method, plan.graph.request.sample, is_stochastic=plan.is_stochastic)
    with staging.stage(directory.parent) as staged:
        path = staged / artifacts.MODEL
        step("writing the weights")
        skeleton = plan.graph.refresh(flat, manifest.embedded(source, config.metadata), path)
        if config.target is not None:
            lower_ir_version(path, skeleton, compatibility.find_target(config.target).ir_version)
        step("checking")
        context = _context(plan, flat, path, loaders, threads=1 if concurrent else 0)
        results = [
            _run_check(check, context) if config.has_weights else _no_weights(check) for check in config.every_check
        ]
        if config.variants:
            step("making the variants")
        made = (
            judging.make(config.variants, context, parity=config.parity, metrics=config.metrics, target=config.target)
            if config.has_weights
            else judging.not_made(config.variants, _NO_WEIGHTS)
        )
        notes = list(plan.notes)
        if config.test_data is not None:
            missing = test_data.write_test_data(
                staged / artifacts.TEST_DATA,
                plan.graph.signature,
                plan.graph.request.tensors,
                flat.reference,
                config.test_data,
            )
            notes += [missing] if missing else []
        step("writing the report")
        described = manifest.build(
            path,
            skeleton,
            plan.graph.signature,
            source,
            results,
            notes,
            variants=made,
            engine=plan.graph.traced.engine,
            engine_reason=plan.engine_reason,
            method=config.method,
            sample=plan.source,
            name=directory.name,
            module=type(module).__name__,
            metadata=config.metadata,
            request=plan.graph.request,
            target=config.target,
        )
        described["scalars"]["export_seconds"] = round(time.perf_counter() - started, 3)
        Report(described).write(staged)
        return staging.commit(staged, described, directory, replace)


def _context(plan: Plan, flat: FlatModule, path: Path, loaders: Loaders, threads: int) -> CheckContext:
    runtime = client.get("onnxruntime", threads=threads)
    request = plan.graph.request
    call = Call(plan.config.method, plan.graph.signature, request.sample.paths, request.output_paths)
    context = CheckContext(
        path,
        plan.graph.signature,
        runtime,
        flat.reference,
        plan.cases,
        flat.nudged,
        plan.is_stochastic,
        flat,
        inner=inner_values(plan.graph.traced, flat),
    )
    try:
        return dataclasses.replace(context, validation=Validation(flat.module, loaders, call))
    except SampleError as error:
        return dataclasses.replace(context, no_validation=str(error))


def _run_check(check: Any, context: CheckContext) -> CheckResult:
    try:
        result = check(context)
    except Exception as error:  # a check that breaks has not passed
        log.debug("check %s", check.name, exc_info=True)
        told = without_paths(first_line(error))
        return CheckResult(check.name, "failed", f"the check itself failed: {told}")
    assert isinstance(result, CheckResult)
    return result


def _no_weights(check: Any) -> CheckResult:
    return CheckResult(check.name, "skipped", _NO_WEIGHTS, scalars={f"{check.name}_passed": 0.0})


# Without a Trainer --------------------------------------------------------------------------------------------------
