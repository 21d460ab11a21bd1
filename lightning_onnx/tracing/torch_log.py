"""Reads what torch logs about the sizes and values that decide during a trace."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from lightning_onnx.module.tracing_thread import is_tracing_thread, tracing_thread

_LOGGER = "torch.fx.experimental.symbolic_shapes"


@contextlib.contextmanager
def reading(listener: logging.Filter, level: int) -> Iterator[None]:
    """Pass torch's records in this thread to a listener and nobody else, whatever is set for its logging.

    ``logging.disable`` and ``disable_existing_loggers`` of a configuration would hide decisions that the graph keeps.

    Args:
        listener: Its ``filter`` gets each record.
        level: The lowest level of the records.
    """
    logger = logging.getLogger(_LOGGER)

    def is_enabled_for(asked: int) -> bool:
        return asked >= level if is_tracing_thread() else type(logger).isEnabledFor(logger, asked)

    def handle(record: logging.LogRecord) -> None:
        if not is_tracing_thread():
            type(logger).handle(logger, record)
        else:
            listener.filter(record)

    with tracing_thread():
        before = dict(vars(logger))
        vars(logger).update(isEnabledFor=is_enabled_for, handle=handle)
        try:
            yield
        finally:
            for name in ("isEnabledFor", "handle"):
                if name in before:
                    vars(logger)[name] = before[name]
                else:
                    del vars(logger)[name]
