"""Lines and warnings for users: on rank zero only, beside progress bars; warnings at the user's line of code."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator

from lightning_onnx.printable import printable

_PACKAGES = ("lightning_onnx", "lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities", "torch")
_STANDARD = ("contextlib", "functools", "threading", "concurrent", "runpy")
_OWN_FRAMES = 4
"""Those of ``rank_zero_warn`` and its wrappers, and that of ``warn``."""


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn as the user's line that called ``fit`` or ``export`` would.

    Args:
        message: What the user should know; control characters in it are escaped.
        category: The kind of warning.
    """
    from lightning.pytorch.utilities import rank_zero_warn

    frames = _OWN_FRAMES + _frames_below()
    with _beside_bars():
        rank_zero_warn(printable(message), stacklevel=frames, category=category)


def info(message: str) -> None:
    """Tell a line through Lightning's logger.

    Args:
        message: What the user should know; control characters in it are escaped.
    """
    from lightning.pytorch.utilities import rank_zero_info

    with _beside_bars():
        rank_zero_info(printable(message))


@contextlib.contextmanager
def _beside_bars() -> Iterator[None]:
    """Clear tqdm's bars during the block, and write through Rich's display if one is live.

    Rich draws over what goes to the streams that it has replaced; handlers of logging may still hold those.
    """
    with contextlib.ExitStack() as stack:
        if "tqdm" in sys.modules:
            from tqdm import tqdm  # type: ignore[import-untyped]

            stack.enter_context(tqdm.external_write_mode())
        if "rich.file_proxy" in sys.modules:
            stack.enter_context(_handlers_through_rich())
        yield


@contextlib.contextmanager
def _handlers_through_rich() -> Iterator[None]:
    """Let Lightning's log handlers write through Rich's display, if one has taken the place of the stream."""
    from rich.file_proxy import FileProxy

    proxy = sys.stderr
    if not isinstance(proxy, FileProxy):
        yield
        return
    behind = proxy.rich_proxied_file
    loggers = map(logging.getLogger, ("lightning.pytorch", "pytorch_lightning", "lightning", None))
    found = [h for own in loggers for h in own.handlers if getattr(h, "stream", None) is behind]
    handlers = [h for h in found if isinstance(h, logging.StreamHandler)]
    for handler in handlers:
        handler.setStream(proxy)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(behind)


def _frames_below() -> int:
    """Return the number of frames between ``warn`` and the user's code; that of its caller if there is no such code."""
    frame, depth = sys._getframe(1).f_back, 1
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in (*_PACKAGES, *_STANDARD):
            return depth
        frame, depth = frame.f_back, depth + 1
    return 1
