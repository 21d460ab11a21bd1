"""Reads what torch logs about the sizes and values that decide during a trace."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

_LOGGER = "torch.fx.experimental.symbolic_shapes"


@contextlib.contextmanager
def reading(listener: logging.Filter, level: int) -> Iterator[None]:
    """Pass torch's records to a listener, whatever the program has set for its logging.

    ``logging.disable`` and ``disable_existing_loggers`` of a configuration would hide decisions that the graph keeps.

    Args:
        listener: Its ``filter`` gets each record; it should drop them all.
        level: The lowest level of the records.
    """
    logger = logging.getLogger(_LOGGER)
    before = logger.level, logger.disabled
    logger.addFilter(listener)
    logger.setLevel(level)  # tracing silences it
    logger.disabled = False
    logger.__dict__["isEnabledFor"] = level.__le__
    try:
        yield
    finally:
        del logger.__dict__["isEnabledFor"]  # the method of the class again
        logger.disabled = before[1]
        logger.setLevel(before[0])
        logger.removeFilter(listener)
