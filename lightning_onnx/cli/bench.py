"""``lightning-onnx bench``: the latency of a model in each runtime, as a table and a plot."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from lightning_onnx.cli.base import (
    FAILED,
    PASSED,
    SKIPPED,
    Subparsers,
    add_method,
    add_run_parser,
    artifact_at,
    model_at,
    runtimes_of,
    write,
    write_json,
)
from lightning_onnx.errors import UsageError
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes.base import Arrays

_EXAMPLES = (
    "lightning-onnx bench lightning_logs/version_0/onnx/epoch=2-step=90",
    "lightning-onnx bench DIR --runtime onnxruntime --runtime openvino --batch 1 --batch 32 --threads 4",
    "lightning-onnx bench model.onnx --plot latency.svg",
)


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = add_run_parser(
        subparsers, "bench", run, "measure the latency of an artifact or an ONNX file, with a plot", _EXAMPLES
    )
    add_method(parser)
    parser.add_argument(
        "--batch", type=int, action="append", metavar="N", help="a batch size, may be repeated; default: 1 and 8"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of each runtime; default: 1")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="for each runtime at each batch size, about; default: 1"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="a test_data_set_* with the inputs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="an .svg file; default: NAME.latency.svg, here")


def run(arguments: argparse.Namespace) -> int:
    """Measure; 1 if a runtime fails or a required one is missing, 3 if none is available."""
    from lightning_onnx.checks.measuring import measure, resized

    names = runtimes_of(arguments, arguments.path)
    chosen = arguments.method
    model = model_at(arguments.path) if chosen is None else artifact_at(arguments.path, chosen).model_path
    sizes = arguments.batch or [1, 8]
    if min(sizes) < 1 or arguments.threads < 1:
        raise UsageError("--batch and --threads are numbers of 1 or more.")
    specs = ModelSpecs.read(model)
    inputs = _inputs(model, specs, arguments.data)
    axes = {s.name: s.shape.index(specs.batch) if s.shape and specs.batch in s.shape else None for s in specs.inputs}
    figures, absent, broken = measure(
        model,
        resized(inputs, axes, sizes),
        names,
        {},
        threads=arguments.threads,
        precision=arguments.precision,
        seconds=arguments.seconds,
    )
    figures["failed"] = broken
    plot = _plot(arguments, figures)
    if arguments.json:
        write_json({"file": model.name, **figures, "plot": str(plot) if plot else None})
    else:
        write(_text(figures, plot))
    missing = set(absent) & set(arguments.require)
    return FAILED if broken or missing else PASSED if figures["loading"] else SKIPPED


def _inputs(model: Path, specs: ModelSpecs, data: Path | None) -> Arrays:
    """Return the inputs of the first test data set, or generated ones if there is none."""
    from lightning_onnx.artifacts import data_set

    sets = data_set.find_data_sets(data or data_set.folder_of(model))
    if sets:
        return data_set.read_data_set(sets[0], specs).inputs
    if data is not None:
        raise UsageError(f"--data {data} holds no test data. Give a directory with input_0.pb.")
    generator = np.random.default_rng(0)
    found: Arrays = {}
    for spec in specs.inputs:
        if spec.optional:
            continue
        shape = [1 if dim == specs.batch else dim for dim in spec.shape or (None,)]
        if spec.dtype is None or not all(isinstance(dim, int) for dim in shape):
            raise UsageError(
                f"input {spec.name!r} is {spec}, whose sizes are unknown, and there is no test data beside the model. "
                "Give inputs: --data DIR."
            )
        # Integers are 0: an index or a length that is too large would be an error.
        drawn = generator.normal(size=shape) if "float" in spec.dtype else np.zeros(shape)  # type: ignore[arg-type]
        found[spec.name] = drawn.astype(spec.dtype)
    return found


def _plot(arguments: argparse.Namespace, figures: dict[str, Any]) -> Path | None:
    from lightning_onnx.report.latency_plot import write

    tables = {key: value for key, value in figures.items() if key.startswith("batch_")}
    if not tables:
        return None
    name = arguments.path.resolve().name.removesuffix(".onnx")
    path: Path = arguments.plot or Path(f"{name}.latency.svg")
    try:
        write(tables, path)
    except (OSError, ValueError) as error:
        raise UsageError(f"--plot {path} cannot be written: {error}. Give an .svg file.") from error
    return path


def _text(figures: dict[str, Any], plot: Path | None) -> str:
    from lightning_onnx.report.tables import aligned, tables

    parts = [f"{figures['threads']} thread(s), {figures['precision']}, ratio to the first"]
    shown = {key: value for key, value in figures.items() if key.startswith("batch_") or key == "loading"}
    for table in tables(shown):
        rows = [[table.title, *table.columns[1:]], *table.rows]
        parts.append("\n".join(aligned(rows)))
    parts += [f"skipped  {name}: {reason}" for name, reason in figures["absent"].items()]
    parts += [f"failed   {name}: {reason}" for name, reason in figures["failed"].items()]
    return "\n\n".join(parts + ([f"plot: {plot}"] if plot else []))
