"""Finds the lines at which a program keeps a decision of the traced values, from torch's log."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from torch._guards import TracingContext

from lightning_onnx.module.user_code import is_users, line_of, location, user_frame
from lightning_onnx.tracing.torch_log import reading

_DECIDED = "propagate_real_tensors evaluate_expr"
"""Start of torch's message when it uses the traced value of a condition that it cannot evaluate."""


@contextlib.contextmanager
def kept_decisions() -> Iterator[list[str]]:
    """Collect ``file:line`` of the user's code for each decision that torch makes from a traced value."""
    listener = _Listener()
    with reading(listener, logging.WARNING):
        yield listener.lines


class _Listener(logging.Filter):
    """Reads torch's log during a trace, and drops all of it.

    Attributes:
        lines: ``file:line`` of the user's code that was running at each decision.
    """

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def filter(self, record: logging.LogRecord) -> bool:
        """Record the line of a decision, and drop the log record."""
        if record.getMessage().startswith(_DECIDED):
            line = _line()
            if line is not None:
                self.lines.append(line)
        return False


def _line() -> str | None:
    """Return the line that is being traced: from the bytecode that Dynamo reads, or from the running frame."""
    read = [frame for frame in TracingContext.extract_stack() if is_users(frame.filename)]
    if read:
        return location(read[-1].filename, read[-1].lineno or 0)
    frame = user_frame(sys._getframe())
    return None if frame is None else line_of(frame)
