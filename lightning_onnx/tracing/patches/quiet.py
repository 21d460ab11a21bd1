"""What torch's exporters and the traced module print, and how it is kept from being printed."""

from __future__ import annotations

import builtins
import sys
from contextlib import AbstractContextManager

from lightning_onnx.module import tracing_thread
from lightning_onnx.tracing.patches.patch import Patch

_print = builtins.print


def print_to_files(*values: object, file: object = None, **options: object) -> None:
    """Print only to a file of the user's own; a trace runs the module many times."""
    if file is not None and file is not sys.stdout and file is not sys.stderr:
        _print(*values, file=file, **options)  # type: ignore[call-overload]


def only_errors(patch: Patch) -> AbstractContextManager[None]:
    """Log only errors of the tracing thread."""
    return tracing_thread.only_errors(patch.owner)


def without_warnings(patch: Patch) -> AbstractContextManager[None]:
    """Ignore all warnings of the tracing thread."""
    return tracing_thread.without_warnings()


def do_nothing(*args: object, **kwargs: object) -> None:
    """Take the place of a function that prints or complains."""
