"""Names the stage of an export at which an unexpected exception was raised."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from torch import nn

from lightning_onnx.errors import ONNXExportError, StageError, first_line

OnStage = Callable[[str], None]
"""Called with the name of each stage when it starts, such as ``"checking"``."""


def no_progress(stage: str) -> None:
    """Show no progress, for exports in the background."""


@contextlib.contextmanager
def stages_named(module: nn.Module, method: str, first: str, on_stage: OnStage = no_progress) -> Iterator[OnStage]:
    """Turn an exception that is not of this package into an error with the module, the stage and the cause.

    Args:
        module: The module.
        method: Name of the exported method.
        first: Name of the first stage, which is not announced.
        on_stage: Called with the name of each later stage.

    Yields:
        A function to call with the name of each later stage.

    Raises:
        StageError: If the block raises an exception that is not an ``ONNXExportError``.

    Example:
        >>> with stages_named(nn.Linear(1, 1), "forward", "copying the module") as enter:
        ...     enter("tracing")
        ...     raise IndexError("no such layer")
        Traceback (most recent call last):
        lightning_onnx.errors.StageError: exporting Linear.forward failed while tracing: IndexError: no such layer
    """
    current = first

    def enter(stage: str) -> None:
        nonlocal current
        current = stage
        on_stage(stage)

    try:
        yield enter
    except ONNXExportError:
        raise
    except Exception as error:
        name = f"{type(module).__name__}.{method}"
        raise StageError(f"exporting {name} failed while {current}: {first_line(error)}") from error
