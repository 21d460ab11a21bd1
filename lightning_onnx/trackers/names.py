"""Names that a tracker takes, made from names that it may not take; each tracker has a rule of its own."""

from __future__ import annotations

import re
from collections.abc import Iterable


def clean(text: str, allowed: str, limit: int = 128) -> str:
    r"""Return a valid name that still reads like the one given.

    Args:
        text: Any text.
        allowed: The characters that are valid, as inside a regular expression's ``[...]``; ``\w`` is ASCII.
        limit: The most characters that are valid.

    Returns:
        The text with ``-`` for each run of other characters; ``"onnx"`` where nothing is left.

    Example:
        >>> clean("epoch=3/val:0.1", r"\w.-")
        'epoch-3-val-0.1'
    """
    return re.sub(rf"[^{allowed}]+", "-", text, flags=re.ASCII)[:limit].strip("-. ") or "onnx"


def clean_all(texts: Iterable[str], allowed: str, limit: int = 128) -> list[str]:
    """Return valid names in the order given, each once."""
    return list(dict.fromkeys(clean(text, allowed, limit) for text in texts))
