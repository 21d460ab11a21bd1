"""TODO."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from unittest import mock

import torch

_LOGGERS = (
    "torch.onnx",
    "onnxscript",
    "onnx_ir",
    "torch.export",
    "torch._export",
    "torch.fx.experimental.symbolic_shapes",
)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep torch's exporters from printing: what matters of it is in the errors and in the manifest."""
    loggers = [logging.getLogger(n) for n in _LOGGERS]
    levels = [logger.level for logger in loggers]
    nowhere = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        # the TorchScript based exporter turns its log of graphs on, which C++ writes to the process's stdout
        torch._C._jit_set_onnx_log_enabled(False)
        stack.enter_context(mock.patch.object(torch._C, "_jit_set_onnx_log_enabled", return_value=None))
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
