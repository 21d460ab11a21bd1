"""Whose code a running frame is, and the line of the user's code that is running."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import FrameType

import torch

_TORCH = str(Path(torch.__file__).parent)
_NOT_THE_USERS = (_TORCH, str(Path(__file__).parents[1]))
_STANDARD_LIBRARY = str(Path(contextlib.__file__).parent)
_GENERATED = ("<frozen ", "<string>", "<eval_with_key>", "<__array_function__")
"""Code without a file that Python, torch or numpy generate; other code without a file is from a console or notebook."""

_PACKAGES = ("site-packages", "dist-packages")
_LIGHTNING = tuple(
    f"/{name}/" for name in ("lightning", "pytorch_lightning", "lightning_fabric", "lightning_utilities")
)

_OWN_DECISIONS = tuple(f"{_TORCH}/{folder}/" for folder in ("nn", "distributions"))
"""Parts of torch that look at values only to choose a faster way or to check arguments, or that are replaced when a
module is traced."""


def is_users(filename: str) -> bool:
    """Tell whether code is none of torch, Lightning, Python or this package; other libraries count as the user's.

    Args:
        filename: ``co_filename`` of the code.
    """
    if filename.startswith((*_GENERATED, *_NOT_THE_USERS)):
        return False
    installed = any(folder in filename for folder in _PACKAGES)
    if installed:
        return not any(folder in filename for folder in _LIGHTNING)
    return not filename.startswith(_STANDARD_LIBRARY)


def is_project(filename: str) -> bool:
    """Tell whether code is the user's own: not of an installed library.

    Args:
        filename: ``co_filename`` of the code.
    """
    return is_users(filename) and not any(folder in filename for folder in _PACKAGES)


def user_frame(frame: FrameType | None) -> FrameType | None:
    """Return the innermost frame of the user's code; None if there is none.

    Args:
        frame: Where to begin, from the inside out.
    """
    while frame is not None and not is_users(frame.f_code.co_filename):
        frame = frame.f_back
    return frame


def deciding_frame(frame: FrameType | None) -> FrameType | None:
    """Return what ``user_frame`` does; None if torch itself looks at a value, such as for a faster way.

    Args:
        frame: Where to begin, from the inside out.
    """
    while frame is not None and not is_users(frame.f_code.co_filename):
        if frame.f_code.co_filename.startswith(_OWN_DECISIONS):
            return None
        frame = frame.f_back
    return frame


def line_of(frame: FrameType) -> str:
    """Return ``file:line`` of a frame; the file without its directory, because artifacts hold no paths."""
    return told(frame.f_code.co_filename, frame.f_lineno)


def told(filename: str, line: int) -> str:
    """Return ``file:line``, the file without its directory."""
    return f"{Path(filename).name}:{line}"
