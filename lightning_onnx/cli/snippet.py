"""``lightning-onnx snippet``: the code that loads an artifact's model, in Python or JavaScript."""

from __future__ import annotations

import argparse
from pathlib import Path

from lightning_onnx.cli.base import PASSED, Subparsers, add_method, add_parser, artifact_at, write
from lightning_onnx.cli.verdict import warn_if_failed

_EXAMPLES = (
    "lightning-onnx snippet DIR > DIR/load.py",
    "lightning-onnx snippet DIR --language javascript > DIR/load.mjs",
)


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = add_parser(
        subparsers, "snippet", run, "print code that runs an artifact's model, to be run in its directory", _EXAMPLES
    )
    parser.add_argument("path", type=Path, metavar="DIR", help="the artifact")
    add_method(parser)
    parser.add_argument(
        "--language",
        choices=("python", "javascript"),
        default="python",
        help="python: with onnxruntime; javascript: with onnxruntime-node or onnxruntime-web; default: python",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the code."""
    from lightning_onnx.report import snippet, snippet_javascript

    made = snippet_javascript.snippet if arguments.language == "javascript" else snippet.snippet
    record = artifact_at(arguments.path, arguments.method).record
    warn_if_failed(arguments.command, record)
    write(made(record))
    return PASSED
