"""Checks the file of a graph with the traced weights: whether it is valid, and where it differs from the module."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from lightning_onnx.artifacts.artifact import MODEL
from lightning_onnx.checks.base import CheckContext, CheckedFile, CheckedModule, CheckInputs
from lightning_onnx.checks.comparison import Comparison
from lightning_onnx.checks.divergence import Divergence, find_divergence
from lightning_onnx.checks.integer_kernels import IntegerKernels
from lightning_onnx.checks.judged import Judged
from lightning_onnx.checks.noise import find_random_outputs
from lightning_onnx.errors import EngineError, first_line
from lightning_onnx.module.cases import Case
from lightning_onnx.module.runner import Runner
from lightning_onnx.onnxfile import validity
from lightning_onnx.onnxfile.head import opset_of, read_head
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.runtimes.worker import client
from lightning_onnx.tracing.graph import Graph

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Mismatch:
    """A case in which a graph is wrong.

    Attributes:
        case: The case.
        comparison: The comparison of its worst output.
    """

    case: Case
    comparison: Comparison

    def __str__(self) -> str:
        return f"output '{self.comparison.output}' at {self.case.label}: {self.comparison.problem}"


def find_mismatches(
    run: Runner, graph: Graph, cases: Sequence[Case], config: ExportConfig, judged: Judged | None = None
) -> Iterator[Mismatch]:
    """Yield the cases in which a graph is wrong; none if the file contains no weights.

    Args:
        run: Runs the module that was traced.
        graph: The graph.
        cases: Inputs to compare on.
        config: The options; its ``Parity`` compares.
        judged: Remembers the comparisons; None if they are not needed again.

    Raises:
        EngineError: If the file is invalid, does not have the requested opset, or cannot be loaded by onnxruntime.
    """
    with comparing(run, graph, cases, config, judged) as compare:
        yield from (found for found in compare(cases) if found is not None)


@contextlib.contextmanager
def comparing(
    run: Runner, graph: Graph, cases: Sequence[Case], config: ExportConfig, judged: Judged | None = None
) -> Iterator[Callable[[Iterable[Case]], Iterator[Mismatch | None]]]:
    """Yield a function that compares cases one by one; it finds no mismatch if the file contains no weights.

    Args:
        run: Runs the module that was traced.
        graph: The graph.
        cases: Cases; the first one shows which outputs are random.
        config: The options; its ``Parity`` compares.
        judged: As for ``find_mismatches``.

    Raises:
        EngineError: As ``find_mismatches``.
    """
    with _traced_file(run, graph) as path:
        _check_file(path, graph, config)
        if not config.has_weights:
            yield lambda cases: (None for _ in cases)
            return
        context = _context(run, graph, path, cases).remembering(judged)
        random_outputs = find_random_outputs(
            context, cases[0], cases[0].expected or run.flat.reference(cases[0].tensors)
        )
        try:
            session = context.session
        except Exception as error:
            raise EngineError(
                f"engine '{graph.traced.engine}': onnxruntime cannot load the file ({first_line(error)})"
            ) from error

        kernels = IntegerKernels(context, config.parity.judge)

        def mismatches(cases: Iterable[Case]) -> Iterator[Mismatch | None]:
            for outcome in config.parity.judge_each(session, context, cases, random_outputs):
                worst = min(outcome.failures, key=lambda c: c.is_small, default=None)
                if worst is not None and kernels.are_at_fault(outcome.case):
                    worst = None  # no other graph is computed otherwise; the check of the trained weights fails
                yield None if worst is None else Mismatch(outcome.case, worst)

        yield mismatches


def locate_divergence(run: Runner, graph: Graph, mismatch: Mismatch, config: ExportConfig) -> Divergence | None:
    """Return the first node that differs from the module; None if it cannot be found, for whatever reason.

    Args:
        run: Runs the module that was traced.
        graph: The graph.
        mismatch: A case in which the graph is wrong.
        config: The options; its ``Parity`` compares.
    """
    try:
        with _traced_file(run, graph) as path:
            context = _context(run, graph, path, ())
            return find_divergence(context, mismatch.case, mismatch.comparison.output, config.parity.compare_output)
    except Exception:  # without a diagnosis, the mismatch is still one
        log.debug("the first wrong node cannot be found", exc_info=True)
        return None


@contextlib.contextmanager
def _traced_file(run: Runner, graph: Graph) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / MODEL
        graph.write_traced(run.flat, path)
        yield path


def _context(run: Runner, graph: Graph, path: Path, cases: Sequence[Case]) -> CheckContext:
    return CheckContext(
        file=CheckedFile(path, graph.signature, client.hosted("onnxruntime", spins=False)),
        module=CheckedModule(
            run.flat.reference,
            run.perturbed,
            redrawn=run.flat.redrawn,
            is_stochastic=run.flat.has_drawn,
            inner=graph.inner_values(run.flat),
        ),
        inputs=CheckInputs(tuple(cases)),
    )


def _check_file(path: Path, graph: Graph, config: ExportConfig) -> None:
    """Raise unless the file is valid according to onnx, and has the requested opset."""
    engine = graph.traced.engine
    try:
        validity.check_model(path)
    except Exception as error:
        raise EngineError(f"engine '{engine}': onnx finds the model invalid ({first_line(error)})") from error
    opset = opset_of(read_head(path))
    if opset != config.opset:
        raise EngineError(f"engine '{engine}' wrote opset {opset}, but {config.opset} was requested")
