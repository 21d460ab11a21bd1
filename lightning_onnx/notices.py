"""Warnings for users: on rank zero only, and at the line of their own code that led to them."""

from __future__ import annotations

import sys

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

    rank_zero_warn(printable(message), stacklevel=_OWN_FRAMES + _frames_below(), category=category)


def _frames_below() -> int:
    """Return the number of frames between ``warn`` and the user's code; that of its caller if there is no such code."""
    frame, depth = sys._getframe(1).f_back, 1
    while frame is not None:
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in (*_PACKAGES, *_STANDARD):
            return depth
        frame, depth = frame.f_back, depth + 1
    return 1
