"""``lightning-onnx check``: run a model on its test data and compare the outputs."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lightning_onnx.artifacts.variant_limits import limit_of, variants_of
from lightning_onnx.cli.base import (
    FAILED,
    Subparsers,
    add_run_parser,
    code_of,
    models_at,
    runtimes_of,
    write,
    write_json,
)
from lightning_onnx.cli.verdict import failed_at, sentence
from lightning_onnx.errors import UsageError
from lightning_onnx.runtimes.base import DEFAULT, program_for

_EXAMPLES = (
    "lightning-onnx check lightning_logs/version_0/onnx/epoch=2-step=90",
    "lightning-onnx check DIR --runtime onnxruntime --runtime openvino --require openvino",
    "lightning-onnx check model.onnx --data test_data_set_0 --rtol 1e-3",
    "lightning-onnx check DIR/model.pt2",
    "lightning-onnx check DIR --json | jq .runtimes.onnxruntime.worst_difference",
)


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = add_run_parser(
        subparsers, "check", run, "run an artifact or any ONNX file on its test data and compare the outputs", _EXAMPLES
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="a test_data_set_*, or a directory of them; default: beside the model"
    )
    parser.add_argument(
        "--rtol", type=float, help="relative tolerance; default: by dtype, 1e-4 for float32, or a variant's own"
    )
    parser.add_argument("--atol", type=float, help="tolerance as a share of the output's largest magnitude")


def run(arguments: argparse.Namespace) -> int:
    """Check; 1 if outputs differ, a runtime fails or a check failed when the artifact was made, 3 if all is skipped."""
    names = runtimes_of(arguments, arguments.path)
    models = models_at(arguments.path)
    if arguments.data is not None and not arguments.data.is_dir():
        raise UsageError(f"--data {arguments.data} is not a directory. Give one that holds input_0.pb and output_0.pb.")
    if arguments.data is not None and len(models) > 1:
        raise UsageError(f"--data is for one model, but {arguments.path} has several. Give one of its files.")
    for option, value in (("--rtol", arguments.rtol), ("--atol", arguments.atol)):
        if value is not None and not value >= 0:
            raise UsageError(f"{option} {value} is invalid. Give a number of 0 or more.")
    found = {method: _with_variants(arguments, model, names) for method, model in models.items()}
    failed = failed_at(arguments.path)
    if arguments.json:
        write_json({**found.get("", {"methods": found}), "failed_checks": failed})
    else:
        lines = [line for method, own in found.items() for line in _lines(method, own)]
        write("\n".join([*lines, *([f"failed   {sentence(failed)}"] if failed else [])]))
    rows = [own["runtimes"] for each in found.values() for own in (each, *each.get("variants", {}).values())]
    return FAILED if failed else code_of(row["status"] for own in rows for row in own.values())


def _with_variants(arguments: argparse.Namespace, model: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Check a model, and of an artifact its variants, each in the program that it was checked with before."""
    found = _checked(arguments, model, names, arguments.rtol, arguments.atol)
    if not arguments.path.is_dir() or DEFAULT not in names:
        return found
    paths = variants_of(model)
    variants = {name: _checked(arguments, path, (program_for(path, DEFAULT),)) for name, path in paths.items()}
    return {**found, "variants": variants} if variants else found


def _checked(
    arguments: argparse.Namespace,
    model: Path,
    names: Iterable[str],
    rtol: float | None = None,
    atol: float | None = None,
) -> dict[str, Any]:
    """Run a model in each runtime; return what ``--json`` writes of it."""
    from lightning_onnx.artifacts import data_set
    from lightning_onnx.checks import stored_data

    sets = data_set.find_data_sets(arguments.data or data_set.folder_of(model))
    limit = limit_of(model) if rtol is None and atol is None else None
    if limit is not None:
        rtol, atol = 0.0, limit.allowed
    integers = limit.allowed if limit else 0.0
    rows = {
        name: stored_data.check(model, sets, name, rtol, atol, arguments.precision, integers=integers) for name in names
    }
    for row in rows.values():
        if limit is not None and row["status"] != "skipped":
            row["allowed"] = limit.allowed
            row |= {} if limit.on_test_data is None else {"when_made": limit.on_test_data}
    for name, row in rows.items():
        if row["status"] == "skipped" and name in arguments.require:
            row.update(status="failed", reason=f"it is required: {row['reason']}")
    return {"file": model.name, "data_sets": [s.name for s in sets], "runtimes": rows}


def _lines(method: str, found: Mapping[str, Any]) -> list[str]:
    models = {
        method: found,
        **{" ".join(filter(None, (method, v))): own for v, own in found.get("variants", {}).items()},
    }
    return [
        f"{label}: {_line(name, row)}" if label else _line(name, row)
        for label, own in models.items()
        for name, row in own["runtimes"].items()
    ]


def _line(name: str, row: dict[str, Any]) -> str:
    program = f"{name} {row['version']}" if row.get("version") else name
    if row["status"] != "passed":
        return f"{row['status']:8} {program}: {row['reason']}{_allowed(row)}"
    sets = f"{row['data_sets']} data set{'' if row['data_sets'] == 1 else 's'}"
    return f"passed   {program}: {sets}, differences up to {row['worst_difference']:.1e} of the scale{_allowed(row)}"


def _allowed(row: Mapping[str, Any]) -> str:
    if "when_made" in row:
        return f"; {row['allowed']:.2g} is allowed, because it was {row['when_made']:.1e} when the variant was made"
    return f"; {row['allowed']:g} is allowed for this variant" if "allowed" in row else ""
