"""``lightning-onnx triton``: put an artifact into a model repository of NVIDIA Triton."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_onnx.cli.base import PASSED, Subparsers, add_parser, artifact_at, write
from lightning_onnx.cli.verdict import add_even_if_failed, check_deployable

if TYPE_CHECKING:
    from lightning_onnx.deploy.triton import TritonModel

_EXAMPLES = (
    "lightning-onnx triton lightning_logs/version_0/onnx/epoch=2-step=90 models",
    "lightning-onnx triton DIR models --name digits --max-batch-size 64",
    "tritonserver --model-repository models",
)


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = add_parser(
        subparsers,
        "triton",
        run,
        "add an artifact to a model repository of NVIDIA Triton, as its newest version",
        _EXAMPLES,
    )
    parser.add_argument("path", type=Path, metavar="DIR", help="the artifact")
    parser.add_argument("repository", type=Path, metavar="REPOSITORY", help="the model repository; made if missing")
    parser.add_argument("--name", help="name of the model; default: the class of the module, in small letters")
    parser.add_argument("--method", metavar="NAME", help="one of the artifact's methods; default: a model for each")
    parser.add_argument(
        "--max-batch-size",
        type=int,
        metavar="N",
        help="the largest batch that Triton makes of requests, 0 for none; default: the largest batch of the training",
    )
    add_even_if_failed(parser)


def run(arguments: argparse.Namespace) -> int:
    """Add the artifact, each method as a model of its own, and say how it is served."""
    from lightning_onnx.deploy.triton import add_to_repository

    artifact = artifact_at(arguments.path, arguments.method)
    check_deployable(arguments, artifact.record)
    for method in artifact.methods:
        is_one = len(artifact.methods) == 1
        name = arguments.name if is_one or arguments.name is None else f"{arguments.name}-{method}"
        added = add_to_repository(artifact.method(method), arguments.repository, name, arguments.max_batch_size)
        write("\n".join(_lines(added)))
        if added.batching.is_of_sample:
            sys.stderr.write(
                f"lightning-onnx triton: the limit of {added.batching.max_size} comes from the sample: give "
                "--max-batch-size\n"
            )
    return PASSED


def _lines(added: TritonModel) -> list[str]:
    joined = added.batching
    batches = f"up to {joined.max_size} rows in a batch" if joined.max_size > 1 else "one request at a time"
    reason = f" ({joined.reason})" if joined.reason else ""
    warmup = "warmed up with the test data" if added.warmed else "no warm-up: the artifact has no test data"
    there = "" if added.is_new else " is there already, with the same sha256"
    return [f"{added.directory}, version {added.version}{there}", f"{batches}{reason}", warmup]
