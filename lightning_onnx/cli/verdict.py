"""What commands do with an artifact that has a failed check: they say so, and those that deploy it refuse."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lightning_onnx.artifacts import foreign
from lightning_onnx.artifacts.artifact import MANIFEST
from lightning_onnx.errors import ArtifactError
from lightning_onnx.manifest.manifest import Manifest


def failed_checks(manifest: Manifest) -> tuple[str, ...]:
    """Return the names of the checks that failed when the artifact was made; of several methods ``decode: parity``."""
    records = manifest.by_method
    return tuple(
        f"{method}: {check.name}" if len(records) > 1 else check.name
        for method, record in records.items()
        for check in record.checks
        if check.status == "failed"
    )


def failed_at(path: Path) -> tuple[str, ...]:
    """Return the failed checks of an artifact whose files are verified already; none for a file on its own."""
    return failed_checks(Manifest.from_dict(foreign.read_json(path / MANIFEST))) if path.is_dir() else ()


def sentence(failed: tuple[str, ...]) -> str:
    """Return the failed checks as text.

    Example:
        >>> sentence(("parity", "latency"))
        "the export's own checks: parity, latency failed"
    """
    return f"the export's own checks: {', '.join(failed)} failed"


def warn_if_failed(command: str, manifest: Manifest) -> None:
    """Say on stderr that an artifact has failed checks.

    Args:
        command: The command that uses it.
        manifest: Its manifest.
    """
    if failed := failed_checks(manifest):
        sys.stderr.write(f"lightning-onnx {command}: do not deploy: {sentence(failed)}\n")


def add_even_if_failed(parser: argparse.ArgumentParser) -> None:
    """Add the option that deploys an artifact with failed checks."""
    parser.add_argument(
        "--even-if-failed", action="store_true", help="also an artifact with failed checks; default: it is refused"
    )


def check_deployable(arguments: argparse.Namespace, manifest: Manifest) -> None:
    """Refuse an artifact with failed checks, unless the option says otherwise; then a line on stderr says it.

    Args:
        arguments: The parsed arguments.
        manifest: The artifact's manifest.

    Raises:
        ArtifactError: If a check failed and the option is not given.
    """
    failed = failed_checks(manifest)
    if failed and not arguments.even_if_failed:
        raise ArtifactError(
            f"{arguments.path} has failed checks ({sentence(failed)}). Export again, or give --even-if-failed."
        )
    warn_if_failed(arguments.command, manifest)
