"""``lightning-onnx check``: run a model on its test data and compare the outputs."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from lightning_onnx.cli.base import (
    Subparsers,
    add_run_parser,
    code_of,
    model_at,
    runtimes_of,
    write,
    write_json,
)
from lightning_onnx.errors import UsageError

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
    parser.add_argument("--rtol", type=float, help="relative tolerance; default: by dtype, 1e-4 for float32")
    parser.add_argument("--atol", type=float, help="tolerance as a share of the output's largest magnitude")


def run(arguments: argparse.Namespace) -> int:
    """Check; 1 if outputs differ or a runtime fails, 3 if all is skipped."""
    from lightning_onnx.artifacts import data_set
    from lightning_onnx.checks import stored_data

    names = runtimes_of(arguments, arguments.path)
    model = model_at(arguments.path)
    directory = arguments.data or model.parent
    if not directory.is_dir():
        raise UsageError(f"--data {directory} is no directory. Give one that holds input_0.pb and output_0.pb.")
    rtol, atol = arguments.rtol, arguments.atol
    for option, value in (("--rtol", rtol), ("--atol", atol)):
        if value is not None and not value >= 0:
            raise UsageError(f"{option} {value} is invalid. Give a number of 0 or more.")
    sets = data_set.find_data_sets(directory)
    rows = {name: stored_data.check(model, sets, name, rtol, atol, arguments.precision) for name in names}
    for name, row in rows.items():
        if row["status"] == "skipped" and name in arguments.require:
            row.update(status="failed", reason=f"it is required: {row['reason']}")
    if arguments.json:
        write_json({"file": model.name, "data_sets": [s.name for s in sets], "runtimes": rows})
    else:
        write("\n".join(_line(name, row) for name, row in rows.items()))
    return code_of(row["status"] for row in rows.values())


def _line(name: str, row: dict[str, Any]) -> str:
    program = f"{name} {row['version']}" if row.get("version") else name
    if row["status"] != "passed":
        return f"{row['status']:8} {program}: {row['reason']}"
    sets = f"{row['data_sets']} data set{'' if row['data_sets'] == 1 else 's'}"
    return f"passed   {program}: {sets}, differences up to {row['worst_difference']:.1e} of the scale"
