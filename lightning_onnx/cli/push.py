"""``lightning-onnx push``: upload an artifact to the Hugging Face Hub."""

from __future__ import annotations

import argparse
from pathlib import Path

from lightning_onnx.cli.base import PASSED, Subparsers, add_parser, artifact_at, write

_EXAMPLES = (
    "lightning-onnx push lightning_logs/version_0/onnx/epoch=2-step=90 user/digits",
    "lightning-onnx push DIR user/digits --public --pipeline-tag image-classification",
)


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = add_parser(
        subparsers,
        "push",
        run,
        "upload an artifact with a model card to the Hugging Face Hub, in one commit",
        _EXAMPLES,
    )
    parser.add_argument("path", type=Path, metavar="DIR", help="the artifact")
    parser.add_argument("repo_id", metavar="USER/NAME", help="the repository; made if it does not exist")
    parser.add_argument("--public", action="store_true", help="make a new repository public; default: private")
    parser.add_argument("--pipeline-tag", metavar="TASK", help="task for the model card, such as image-classification")


def run(arguments: argparse.Namespace) -> int:
    """Upload, and print the address of the commit; 2 if the token may not write."""
    from lightning_onnx.deploy.hub import Hub, make_writable, push

    hub = Hub(arguments.repo_id, private=not arguments.public, pipeline_tag=arguments.pipeline_tag)
    artifact = artifact_at(arguments.path)
    make_writable(hub)
    write(push(artifact, hub))
    return PASSED
