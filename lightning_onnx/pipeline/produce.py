"""Produces one artifact from plans and one set of weights: writes it, checks it, and moves it into place."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from lightning_onnx.artifacts import staging
from lightning_onnx.artifacts.artifact import MODEL, ONNXArtifact
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.model import FileDigest
from lightning_onnx.module.tracing_thread import tracing_thread
from lightning_onnx.module.weights.state import weight_bytes
from lightning_onnx.onnxfile.shared_weights import SHARED, SharedWeights
from lightning_onnx.pipeline.assets import copy_assets
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.method_file import check_method, write_method
from lightning_onnx.pipeline.plan import Plan
from lightning_onnx.pipeline.stages import OnStage, no_progress, stages_named
from lightning_onnx.profile import Profile, profiled

log = logging.getLogger(__name__)

SHARED_ABOVE = 100 * 2**20
"""Bytes of weights above which several methods have them in one file; below it, each file is complete in itself."""


def produce(
    plans: Plan | Sequence[Plan],
    loaded: LoadedModule,
    directory: Path,
    *,
    if_taken: staging.IfTaken = "raise",
    concurrent: bool = False,
    on_stage: OnStage = no_progress,
) -> ONNXArtifact:
    """Write, check and commit one artifact.

    Args:
        plans: The result of ``prepare`` for a module of the same structure; of several methods, one of each.
        loaded: The module with the weights to export.
        directory: The artifact's directory.
        if_taken: What to do if the directory exists.
        concurrent: Whether training runs at the same time: then use one thread, and do not touch the random state.
        on_stage: Called with the name of each stage.

    Returns:
        The artifact. If a check failed, it is kept and marked as failed.

    Raises:
        ArtifactError: If the artifact cannot be written.
        StageError: If a stage raises an exception that is not of this package.
    """
    plans = (plans,) if isinstance(plans, Plan) else plans
    methods = " and ".join(plan.config.method for plan in plans)
    named = stages_named(loaded.module, methods, "starting", on_stage)
    with profiled() as profile, tracing_thread(), named as enter:
        made = _produce(plans, loaded, directory, profile, if_taken=if_taken, concurrent=concurrent, on_stage=enter)
        log.info("seconds of this export: %s", profile)
        return made


def _produce(
    plans: Sequence[Plan],
    loaded: LoadedModule,
    directory: Path,
    profile: Profile,
    *,
    if_taken: staging.IfTaken,
    concurrent: bool,
    on_stage: OnStage,
) -> ONNXArtifact:
    with staging.stage(directory.parent) as staged:
        on_stage("writing the weights")
        with _shared_weights(plans, loaded, staged) as shared:
            files = [
                write_method(plan, loaded, staged / _name(plan, plans), concurrent=concurrent, shared=shared)
                for plan in plans
            ]
        records = [check_method(file, loaded, concurrent=concurrent, on_stage=on_stage) for file in files]
        digests = {name: digest for file in files for name, digest in file.digests.items()}
        if shared is not None:
            digests[SHARED] = FileDigest(shared.written.sha256, shared.written.bytes)
        seconds = round(time.perf_counter() - loaded.started, 3)
        described = dataclasses.replace(
            Manifest.joined(records).with_scalar("export_seconds", seconds),
            name=directory.name,
            assets=copy_assets(plans[0].config.assets, staged),
            seconds={stage: round(own, 3) for stage, own in profile.seconds.items()},
            files=digests,  # the report, which is written next, has their size
        )
        return staging.commit(staged, described, directory, if_taken, digests)


def _name(plan: Plan, plans: Sequence[Plan]) -> str:
    """Return the name of a method's file."""
    return MODEL if len(plans) == 1 else f"{plan.config.method}.onnx"


def _shared_weights(
    plans: Sequence[Plan], loaded: LoadedModule, staged: Path
) -> contextlib.AbstractContextManager[SharedWeights | None]:
    """Return the file for the weights of several methods; None if each method's file has its own."""
    if len(plans) == 1 or not plans[0].config.has_weights:
        return contextlib.nullcontext()
    is_large = weight_bytes(loaded.module) > SHARED_ABOVE
    return SharedWeights(staged) if is_large else contextlib.nullcontext()
