"""The file of one exported method: written with one set of weights, then checked, with its variants and test data."""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Sequence
from pathlib import Path

from lightning_onnx.artifacts.artifact import MODEL
from lightning_onnx.artifacts.stand_in import ExportedCall
from lightning_onnx.checks.base import Check, CheckContext, CheckedFile, CheckedModule, CheckInputs, CheckResult
from lightning_onnx.checks.judged import Judged
from lightning_onnx.checks.loaders import Loaders
from lightning_onnx.checks.validation import Validation
from lightning_onnx.errors import SampleError, first_line
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.model import FileDigest
from lightning_onnx.module.call_state import attribute_names
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.onnxfile import compatibility
from lightning_onnx.onnxfile.privacy import without_paths
from lightning_onnx.onnxfile.shared_weights import SharedWeights
from lightning_onnx.onnxfile.writer import Written
from lightning_onnx.pipeline import manifest
from lightning_onnx.pipeline.contract import FoundContract, contract_of, with_outputs
from lightning_onnx.pipeline.decisions import with_weights
from lightning_onnx.pipeline.inner_part import ON_THE_PART, InnerPart, for_the_loop
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.plan import Plan
from lightning_onnx.pipeline.stages import OnStage
from lightning_onnx.pipeline.stored_data import answers_side_by_side, write_stored
from lightning_onnx.runtimes.worker import client
from lightning_onnx.variants import judging
from lightning_onnx.variants.judging import VariantResult

log = logging.getLogger(__name__)

_RAW_INPUTS = "the validation loop calls the method with prepared inputs, but the graph takes raw ones"
_NO_WEIGHTS = "the file holds no weights (export_params=False)"


@dataclasses.dataclass(frozen=True)
class MethodFile:
    """The model of one method, written and not yet checked.

    Attributes:
        plan: The plan.
        flat: The module with the weights that were written.
        path: The model.
        written: What was written.
        meaning: What inputs and outputs mean.
        shares_weights: Whether weights are in a file that other methods use, too.
    """

    plan: Plan
    flat: FlatModule
    path: Path
    written: Written
    meaning: FoundContract
    shares_weights: bool = False

    @property
    def digests(self) -> dict[str, FileDigest]:
        """Digests of the files that were written, by name."""
        return {name: FileDigest(file.sha256, file.bytes) for name, file in self.written.files.items()}

    @property
    def folder(self) -> Path:
        """Where the test data go: see ``folder_of``."""
        return self.path.parent if self.path.name == MODEL else self.path.with_suffix("")


def write_method(
    plan: Plan, loaded: LoadedModule, path: Path, *, concurrent: bool, shared: SharedWeights | None = None
) -> MethodFile:
    """Write the model of a method.

    Args:
        plan: The plan of the method.
        loaded: The module with the weights to export.
        path: The file.
        concurrent: Whether training runs at the same time.
        shared: A file for the weights of all methods; without one, the file has its own.
    """
    config = plan.config
    flat = FlatModule(
        loaded.module,
        config.traced_method,
        plan.graph.request.sample,
        is_stochastic=plan.is_stochastic,
        is_concurrent=concurrent,
    )
    meaning = contract_of(plan, loaded)
    metadata = manifest.embedded(loaded.source, plan.graph.signature, {**meaning.metadata, **(config.metadata or {})})
    highest = None if config.target is None else compatibility.find_target(config.target).ir_version
    written = plan.graph.refresh(flat, metadata, path, highest, shared)
    return MethodFile(plan, flat, path, written, meaning, shares_weights=shared is not None)


def check_method(made: MethodFile, loaded: LoadedModule, *, concurrent: bool, on_stage: OnStage) -> Manifest:
    """Check the model of a method, make its variants and test data, and describe all of it.

    Args:
        made: The model.
        loaded: The module with the exported weights.
        concurrent: Whether training runs at the same time: then use one thread.
        on_stage: Called with the name of each stage.

    Returns:
        Its manifest, without the names of the artifact and of its files.
    """
    plan, flat, path = made.plan, made.flat, made.path
    on_stage("checking")
    judged = None if concurrent else plan.judged(loaded.module)
    is_traced = judged is not None or not plan.config.has_weights
    decisions = plan.decisions if is_traced else with_weights(plan.graph, flat, plan.cases)
    plan = plan.with_decisions(decisions)
    context = check_context(plan, flat, path, loaded.loaders, threads=1 if concurrent else 0)
    is_like_traced = plan.config.target is None and not made.shares_weights
    context = context.remembering(_of_this_file(judged, plan, is_like_traced))
    stored, missing = write_stored(plan, context, made.folder)
    side_by_side = answers_side_by_side(plan, context, stored)
    context = _with_stored(context, stored)
    results, part = _run_checks(plan, flat, context, loaded.loaders)
    if plan.config.variants:
        on_stage("making the variants")
    variants = _make_variants(plan, context, flat)
    found = [note for result in results for note in result.notes]
    unknown = plan.unknown_attributes(loaded)
    notes = [*plan.notes, *made.meaning.notes, *unknown, *plan.remarks, *missing, *found]
    on_stage("writing the report")
    return manifest.build(
        plan,
        path,
        made.written.model,
        made.digests[path.name],
        loaded.source,
        module=type(loaded.module).__name__,
        checks=results,
        variants=variants,
        notes=notes,
        samples=side_by_side,
        contract=with_outputs(made.meaning.contract, plan, stored),
        part=part,
    )


def _of_this_file(judged: Judged | None, plan: Plan, is_like_traced: bool) -> Judged | None:
    """Return what is known of a file.

    Args:
        judged: How the traced file was judged; None if it has other weights.
        plan: The plan.
        is_like_traced: Whether the file differs from the traced one at most in its metadata.
    """
    if not plan.is_repeatable:
        return None
    return judged if judged is not None and is_like_traced else Judged()


def _with_stored(context: CheckContext, stored: Sequence[Case]) -> CheckContext:
    """Return the context with the test data as a case.

    The file that is published is loaded and run at least once: on the test data, or without any on the traced call.
    """
    known = context.judgements
    if known is not None and not stored:
        known = known.without(context.cases[0])
    return context.replace(cases=(*context.cases, *stored)).remembering(known)


def check_context(plan: Plan, flat: FlatModule, path: Path, loaders: Loaders, threads: int) -> CheckContext:
    """Return the context for the checks of a written model.

    Args:
        plan: The plan of the model.
        flat: The module with the same weights.
        path: The model.
        loaders: Validation batches.
        threads: Number of threads of the runtime; with 0, the runtime chooses.
    """
    ahead = threads != 1  # else one thread has to do: module and file take turns
    runtime = client.hosted("onnxruntime", threads=threads, ahead=ahead, spins=False)
    request = plan.graph.request
    call = ExportedCall(plan.config.method, plan.graph.signature, request.sample.paths, request.output_paths)
    context = CheckContext(
        file=CheckedFile(path, plan.graph.signature, runtime),
        module=CheckedModule(
            flat.reference,
            flat.perturbed,
            is_stochastic=plan.is_stochastic,
            redrawn=flat.redrawn,
            flat=flat,
            inner=plan.graph.inner_values(flat),
            kept_state=attribute_names(plan.kept_state),
        ),
        inputs=CheckInputs(plan.cases),
    )
    if not plan.config.around.is_empty:
        return context.replace(no_validation=_RAW_INPUTS)  # see _run_checks
    try:
        return context.replace(validation=Validation(flat.module, loaders, call))
    except SampleError as error:
        return context.replace(no_validation=str(error))


def _run_checks(
    plan: Plan, flat: FlatModule, context: CheckContext, loaders: Loaders
) -> tuple[list[CheckResult], InnerPart | None]:
    """Run all checks: of a graph with preprocessing, those that run the validation loop get the part that it calls."""
    config = plan.config
    if not config.has_weights:
        return [_no_weights(check) for check in config.every_check], None
    if config.around.is_empty:
        return [_run_check(check, context) for check in config.every_check], None
    results = []
    with for_the_loop(plan, flat, context, loaders) as (in_the_loop, part):
        for check in config.every_check:
            runs_loop = getattr(check, "needs_validation", False)
            result = _run_check(check, in_the_loop if runs_loop else context)
            is_bare = runs_loop and result.status == "passed" and result.reason is None
            results.append(dataclasses.replace(result, reason=ON_THE_PART) if is_bare else result)
    return results, part


def _run_check(check: Check, context: CheckContext) -> CheckResult:
    try:
        result = check(context)
    except Exception as error:  # a check that raises has not passed
        log.debug("check %s", check.name, exc_info=True)
        problem = without_paths(first_line(error))
        return CheckResult(check.name, "failed", f"the check itself failed: {problem}")
    assert isinstance(result, CheckResult)
    return result


def _make_variants(plan: Plan, context: CheckContext, flat: FlatModule) -> Sequence[VariantResult]:
    config, program = plan.config, plan.graph.traced.program
    if not config.has_weights:
        return judging.not_made(config.variants, _NO_WEIGHTS)
    return judging.make(
        config.variants,
        context,
        parity=config.parity,
        metrics=config.metrics,
        target=config.target,
        save_program=None if program is None else functools.partial(program.save, flat),
    )


def _no_weights(check: Check) -> CheckResult:
    return CheckResult(check.name, "skipped", _NO_WEIGHTS, scalars={f"{check.name}_passed": 0.0})
