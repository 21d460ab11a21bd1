"""Finds the lines at which a program keeps a decision of the traced values, from torch's log."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch._guards import TracingContext

from lightning_onnx.module.user_code import is_users, line_of, location, user_frame
from lightning_onnx.tracing.torch_log import reading

_DECIDED = "propagate_real_tensors evaluate_expr"
"""Start of torch's message when it uses the traced value of a condition that it cannot evaluate."""

_IS_NOT_EMPTY = re.compile(r"evaluate_expr\((?:Eq\([^,()]+, 0\)\) -> False|Ne\([^,()]+, 0\)\) -> True)")
"""The message if the condition is whether a tensor is empty, and it is not."""

_LAYERS = str(Path(torch.nn.__file__).parent)
_READS_BYTECODE = "symbolic_convert.py"
"""The file of Dynamo that reads bytecode: what it calls runs on behalf of the code that it reads."""


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
        """Record the line of a decision, and drop the log record.

        A layer of torch that asks whether its input is empty decides nothing for the method.
        """
        message = record.getMessage()
        if message.startswith(_DECIDED):
            line = _line()
            if line is not None and not (_IS_NOT_EMPTY.search(message) and _is_in_a_layer()):
                self.lines.append(line)
        return False


def _line() -> str | None:
    """Return the line that is being traced: from the bytecode that Dynamo reads, or from the running frame."""
    read = [frame for frame in TracingContext.extract_stack() if is_users(frame.filename)]
    if read:
        return location(read[-1].filename, read[-1].lineno or 0)
    frame = user_frame(sys._getframe())
    return None if frame is None else line_of(frame)


def _is_in_a_layer() -> bool:
    """Tell whether torch's own layers and functions make a decision, and not the user's code."""
    read = TracingContext.extract_stack()
    if read and read[-1].filename.startswith(_LAYERS):
        return True
    frame = sys._getframe()
    while frame is not None and not is_users(frame.f_code.co_filename):
        if frame.f_code.co_filename.startswith(_LAYERS):
            return True
        if frame.f_code.co_filename.endswith(_READS_BYTECODE):
            return False
        frame = frame.f_back  # type: ignore[assignment]
    return False
