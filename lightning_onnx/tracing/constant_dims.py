"""The line of the user's code that makes a dim constant, found in torch's log of guards."""

from __future__ import annotations

import contextlib
import logging
import re
import sys

import torch

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.user_code import line_of, user_frame
from lightning_onnx.tracing.base import tracing
from lightning_onnx.tracing.captures.base import DynamicShapes
from lightning_onnx.tracing.torch_log import reading

# What torch logs when it names a size of an input, and when it decides that a size is constant.
_NAMED = re.compile(r"create_symbol (\w+) = .* for L\['tensors'\]\[(\d+)\]\.size\(\)\[(\d+)\]")
_CONSTANT = re.compile(r"(?:Eq\((\w+), \d+\) \[guard added\]|set_replacement (\w+) = \d+ )")


def find_lines(module: FlatModule, request: Request, dynamic_shapes: DynamicShapes) -> dict[str, str]:
    """Trace once more, and return the ``file:line`` that makes each dim constant, by the dim's name.

    Args:
        module: A private copy.
        request: Traced tensors and names of the dims.
        dynamic_shapes: Which dims are dynamic.
    """
    listener = _GuardListener()
    with contextlib.suppress(Exception), tracing("dynamo"), reading(listener, logging.INFO):
        torch.export.export(module, request.tensors, dynamic_shapes=dynamic_shapes, strict=False)
    found = {}
    for symbol, (tensor, dim) in listener.places.items():
        name = request.axes[tensor].get(dim)
        if name is not None and symbol in listener.lines:
            found[name] = listener.lines[symbol]
    return found


class _GuardListener(logging.Filter):
    """Reads torch's log while it traces, and lets none of it through.

    Attributes:
        places: Index of the tensor and of its dim by torch's symbol for the size.
        lines: ``file:line`` of the user's code that was running when torch made the symbol constant.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, tuple[int, int]] = {}
        self.lines: dict[str, str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Note what a record says, and drop it."""
        message = record.getMessage()
        if named := _NAMED.match(message):
            self.places[named[1]] = (int(named[2]), int(named[3]))
        if constant := _CONSTANT.search(message):
            frame = user_frame(sys._getframe())
            if frame is not None:
                self.lines.setdefault(constant[1] or constant[2], line_of(frame))
        return False
