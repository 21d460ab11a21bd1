"""The test data of one method: made, written into the artifact, and answered by module and file."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from lightning_onnx.artifacts.artifact import TEST_DATA
from lightning_onnx.artifacts.test_data import IsStable, NoTestData, make_test_data, write_test_data
from lightning_onnx.checks.base import CheckContext
from lightning_onnx.errors import first_line
from lightning_onnx.manifest.answers import Samples
from lightning_onnx.module.cases import Case
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.plan import Plan
from lightning_onnx.pipeline.samples import samples

log = logging.getLogger(__name__)


def write_stored(plan: Plan, context: CheckContext, folder: Path) -> tuple[list[Case], list[str]]:
    """Write test data if the options ask for it.

    Args:
        plan: The plan of the method.
        context: The context of the checks, without these data.
        folder: Where the data set goes.

    Returns:
        The test data as a case, and a note if there are none.
    """
    kind, signature = plan.config.test_data, plan.graph.signature
    if kind is None:
        return [], []
    if plan.config.has_weights:
        context.file.load_ahead()
    is_stable = _stability(context, plan.config)
    tries = max(1, plan.affordable_cases // 2)  # each runs the module several times, and the file
    data = make_test_data(plan.graph.request.tensors, context.reference, is_stable, kind, tries)
    if isinstance(data, NoTestData):
        return [], [_why_missing(data, kind)]
    folder.mkdir(exist_ok=True)
    write_test_data(folder / TEST_DATA, signature, data)
    return [Case(TEST_DATA, data.inputs, data.outputs, kind="values")], []


def _why_missing(data: NoTestData, kind: str) -> str:
    if data.refusal is None:
        why = f"the module returns no finite outputs on {kind} inputs"
    else:
        why = f"the module does not run on {kind} inputs ({first_line(data.refusal)})"
    helps = ". test_data='observed' stores the first observed batch instead" if kind == "synthetic" else ""
    return f"no test data: {why}{helps}"


def answers_side_by_side(plan: Plan, context: CheckContext, stored: Sequence[Case]) -> Samples:
    """Return answers of module and file for the test data; none if there are none, or the file does not run on them.

    Args:
        plan: The plan of the method.
        context: The context of the checks.
        stored: The test data; may be empty.
    """
    if not stored or not plan.config.has_weights:
        return Samples()
    try:
        is_real = plan.config.test_data == "observed"
        return samples(context.session, plan.graph.signature, stored[0], is_real=is_real)
    except Exception:  # the checks report what is wrong with the file
        log.debug("the file does not run on its test data", exc_info=True)
        return Samples()


def _stability(context: CheckContext, config: ExportConfig) -> IsStable:
    """Return a function that tells whether only noise changes outputs; it says yes if the file does not run."""
    fresh = dataclasses.replace(context, judged=None)  # the file that is published runs at least here

    def is_stable(inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> bool:
        try:
            session = context.session
        except Exception:  # the file contains no weights, or the check reports what is wrong with it
            return True
        case = Case(TEST_DATA, tuple(inputs), tuple(outputs), kind="values")
        comparisons = config.parity.judge(session, fresh, case).comparisons
        known = context.judgements
        if known is not None:
            known.add(config.parity, case, comparisons)
        return all(c.excuse is None for c in comparisons)

    return is_stable
