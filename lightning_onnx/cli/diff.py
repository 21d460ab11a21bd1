"""``lightning-onnx diff``: what differs between the artifact that serves and the one that is to replace it."""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_onnx.cli.base import FAILED, PASSED, Subparsers, add_json, add_parser, artifact_at, write, write_json

if TYPE_CHECKING:
    from lightning_onnx.artifacts.artifact import ONNXArtifact
    from lightning_onnx.checks.artifact_diff import ArtifactDiff, OutputDiff

_EXAMPLES = (
    "lightning-onnx diff serving/ lightning_logs/version_4/onnx/epoch=9-step=320",
    "lightning-onnx diff A B --runtime openvino",
    "lightning-onnx diff A B --json | jq .weights",
)
_MOST = 5
"""The most modules and operators that the text names."""


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = add_parser(
        subparsers,
        "diff",
        run,
        "compare two artifacts: signature, operators, weights, checks, metrics, and the outputs on the same test data",
        _EXAMPLES,
    )
    parser.add_argument("first", type=Path, metavar="A", help="the artifact that serves now")
    parser.add_argument("second", type=Path, metavar="B", help="the artifact that is to replace it")
    parser.add_argument(
        "--runtime", default="onnxruntime", metavar="NAME", help="what runs both on A's test data; default: onnxruntime"
    )
    add_json(parser)


def run(arguments: argparse.Namespace) -> int:
    """Compare; 1 if B is worse than A or lacks one of its methods, or if clients of A cannot use B."""
    from lightning_onnx.checks.artifact_diff import compare
    from lightning_onnx.runtimes import base as runtimes

    runtimes.check_name(arguments.runtime)
    first, second = artifact_at(arguments.first), artifact_at(arguments.second)
    if len(first.methods) > 1 or len(second.methods) > 1:
        return _run_by_method(first, second, arguments)
    found = compare(first, second, arguments.runtime)
    if arguments.json:
        write_json(_plain(found))
    else:
        write("\n".join(_lines(found)))
    return FAILED if found.worse or found.incompatible else PASSED


def _run_by_method(first: ONNXArtifact, second: ONNXArtifact, arguments: argparse.Namespace) -> int:
    from lightning_onnx.checks.artifact_diff import compare

    found = {
        name: compare(first.method(name), second.method(name), arguments.runtime)
        for name in first.methods
        if name in second.methods
    }
    gone, new = (
        [name for name in one.methods if name not in other.methods] for one, other in ((first, second), (second, first))
    )
    if arguments.json:
        write_json({"methods": {name: _plain(own) for name, own in found.items()}, "gone": gone, "new": new})
    else:
        parts = [f"{name}\n" + "\n".join(f"  {line}" for line in _lines(own)) for name, own in found.items()]
        parts += [f"{name}\n  B lacks the method" for name in gone] + [f"{name}\n  only in B" for name in new]
        write("\n\n".join(parts))
    return FAILED if gone or any(own.worse or own.incompatible for own in found.values()) else PASSED


def _plain(found: ArtifactDiff) -> Any:
    return _finite({**dataclasses.asdict(found), "worse": found.worse})


def _lines(found: ArtifactDiff) -> Iterator[str]:
    from lightning_onnx.report.tables import aligned

    yield from aligned(list(_rows(found)))
    if found.worse:
        yield f"\nB is worse: {', '.join(found.worse)}"
    if found.incompatible:
        reasons = found.incompatible
        told = f" {reasons[0]}" if len(reasons) == 1 else "".join(f"\n  {reason}" for reason in reasons)
        yield f"\nB is incompatible with clients of A:{told}"


def _rows(found: ArtifactDiff) -> Iterator[list[str]]:
    from lightning_onnx.report.tables import size, text

    before, now = found.signature
    yield ["signature", f"the same: {now}" if before == now else f"{before} → {now}"]
    yield ["opset", _arrow(*found.opset)]
    yield ["size", _arrow(*map(size, found.bytes))]
    yield ["operators", _some([f"{name} {_arrow(a or 0, b or 0)}" for name, (a, b) in found.operators.items()])]
    yield ["weights", _weights(found)]
    if found.constants or found.constants_changed:
        changed = found.constants_changed
        yield ["constants", f"other values: {changed}" if changed else f"the same ({found.constants})"]
    for name, values in found.contract.items():
        yield [name, _arrow(*map(_told, values))]
    for name, ends in found.checks.items():
        yield [name, _arrow(*(end or "not there" for end in ends))]
    for name, values in found.metrics.items():
        yield [name, _arrow(*(text(value) for value in values))]
    for name, output in found.outputs.items():
        yield [name if name.startswith("output") else f"output {name}", _output(output)]
    if found.no_outputs:
        yield ["outputs", f"not compared: {found.no_outputs}"]


def _weights(found: ArtifactDiff) -> str:
    if not found.weights:
        return f"the same ({found.weights_compared})"
    return "largest relative change by module: " + _some(
        [f"{name} {'other weights' if math.isinf(c) else f'{c:.2g}'}" for name, c in found.weights.items()]
    )


def _output(output: OutputDiff) -> str:
    if output.problem is not None:
        return output.problem
    if output.differing:
        return f"{output.differing:.2%} of the elements differ"
    if not output.max_rel_diff:
        return "the same"
    agreement = "" if output.top1_agreement is None else f", the same largest element in {output.top1_agreement:.1%}"
    return f"differs by up to {output.max_rel_diff:.1e} of A's scale{agreement}"


def _arrow(before: object, now: object) -> str:
    return str(now) if before == now else f"{before} → {now}"


def _told(value: object) -> str:
    """Return a value of a contract as text; of many class names the first ones."""
    if isinstance(value, list):
        more = f" and {len(value) - _MOST} more" if len(value) > _MOST else ""
        return ", ".join(map(str, value[:_MOST])) + more or "nothing"
    return "unknown" if value is None else str(value)


def _some(parts: list[str]) -> str:
    more = f" and {len(parts) - _MOST} more" if len(parts) > _MOST else ""
    return (", ".join(parts[:_MOST]) + more) or "the same"


def _finite(value: Any) -> Any:
    """Write infinity, which JSON does not have, as null."""
    if isinstance(value, dict):
        return {key: _finite(own) for key, own in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
