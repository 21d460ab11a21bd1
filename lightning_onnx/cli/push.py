"""``lightning-onnx push``: upload an artifact to the Hugging Face Hub."""

from __future__ import annotations

import argparse
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_onnx.cli.base import PASSED, Subparsers, add_parser, artifact_at, write
from lightning_onnx.cli.verdict import add_even_if_failed, check_deployable
from lightning_onnx.errors import UsageError, first_line

if TYPE_CHECKING:
    from lightning_onnx.artifacts.artifact import ONNXArtifact

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
    parser.add_argument("path", metavar="DIR|URL", help="the artifact; also at a URL that fsspec knows")
    parser.add_argument("repo_id", metavar="USER/NAME", help="the repository; made if it does not exist")
    parser.add_argument("--public", action="store_true", help="make a new repository public; default: private")
    parser.add_argument("--pipeline-tag", metavar="TASK", help="task for the model card, such as image-classification")
    add_even_if_failed(parser)


def run(arguments: argparse.Namespace) -> int:
    """Upload, and print the address of the commit; 2 if the token may not write."""
    from lightning_onnx.deploy.hub import Hub, make_writable, push

    hub = Hub(arguments.repo_id, private=not arguments.public, pipeline_tag=arguments.pipeline_tag)
    with _artifact(arguments.path) as artifact:
        check_deployable(arguments, artifact.record)
        make_writable(hub)
        write(push(artifact, hub, place=arguments.path))
    return PASSED


@contextlib.contextmanager
def _artifact(place: str) -> Iterator[ONNXArtifact]:
    if "://" not in place:
        yield artifact_at(Path(place))
        return
    from lightning_onnx.artifacts import remote
    from lightning_onnx.artifacts.artifact import MANIFEST

    with tempfile.TemporaryDirectory(prefix="lightning-onnx-") as folder:
        copied = Path(folder, place.rstrip("/").rpartition("/")[2])
        try:
            remote.download(place, copied)
            (copied / MANIFEST).stat()
        except Exception as error:  # each file system has errors of its own
            raise UsageError(f"{place} cannot be read ({first_line(error)}). Give the URL of an artifact.") from error
        yield artifact_at(copied)
