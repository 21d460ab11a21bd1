"""The lines at which a program keeps what the traced values decided, found in torch's log."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from torch._guards import TracingContext

from lightning_onnx.module.user_code import is_users, line_of, location, user_frame

_LOGGER = "torch.fx.experimental.symbolic_shapes"
_DECIDED = "propagate_real_tensors evaluate_expr"
"""How torch's message begins where it takes the traced value of a condition that it cannot know."""


@contextlib.contextmanager
def kept_decisions() -> Iterator[list[str]]:
    """Collect ``file:line`` of the user's code for each decision that torch takes by a traced value."""
    logger = logging.getLogger(_LOGGER)
    listener, level = _Listener(), logger.level
    logger.addFilter(listener)
    logger.setLevel(logging.WARNING)  # tracing has silenced it
    try:
        yield listener.lines
    finally:
        logger.setLevel(level)
        logger.removeFilter(listener)


class _Listener(logging.Filter):
    """Reads torch's log while it traces, and lets none of it through.

    Attributes:
        lines: ``file:line`` of the user's code that was running.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Note where torch decided, and drop the record."""
        if record.getMessage().startswith(_DECIDED):
            line = _line()
            if line is not None:
                self.lines.append(line)
        return False


def _line() -> str | None:
    """Return the line that is traced: of the bytecode that is read, or of the frame that runs."""
    read = [frame for frame in TracingContext.extract_stack() if is_users(frame.filename)]
    if read:
        return location(read[-1].filename, read[-1].lineno or 0)
    frame = user_frame(sys._getframe())
    return None if frame is None else line_of(frame)
