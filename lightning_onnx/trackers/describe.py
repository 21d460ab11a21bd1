"""What trackers show of an artifact: names that are valid in a tracker, and a flat summary of the manifest."""

from __future__ import annotations

import re
from collections.abc import Iterable

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.manifest.methods import scalars_of


def clean(text: str, allowed: str, limit: int = 128) -> str:
    r"""Return a valid name that still reads like the one given.

    Args:
        text: Any text.
        allowed: The characters that are valid, as inside a regular expression's ``[...]``; ``\w`` is ASCII.
        limit: The most characters that are valid.

    Returns:
        The text with ``-`` for each run of other characters; ``"onnx"`` if nothing is left.

    Example:
        >>> clean("epoch=3/val:0.1", r"\w.-")
        'epoch-3-val-0.1'
    """
    return re.sub(rf"[^{allowed}]+", "-", text, flags=re.ASCII)[:limit].strip("-. ") or "onnx"


def clean_all(texts: Iterable[str], allowed: str, limit: int = 128) -> list[str]:
    """Return valid names in the order given, each once."""
    return list(dict.fromkeys(clean(text, allowed, limit) for text in texts))


def summary(artifact: ONNXArtifact) -> dict[str, str | int | float]:
    """Return what models are compared by, as a flat table; what is unknown is left out.

    Args:
        artifact: The artifact.

    Returns:
        ``opset``, ``engine``, ``sha256``, ``signature``; ``epoch``, ``monitor``, ``score`` and the like; each check's
        status by its name; the scalars of the loggers without ``onnx/``. Of several methods, what differs between
        them has the method before its name, such as ``decode/signature``.
    """
    record = artifact.record
    if record.methods:
        own = {method: summary(artifact.method(method)) for method in artifact.methods}
        first = own[artifact.methods[0]]
        shared = [name for name, value in first.items() if all(table.get(name) == value for table in own.values())]
        return {
            **{name: first[name] for name in shared},
            **{f"{m}/{name}": v for m, table in own.items() for name, v in table.items() if name not in shared},
            **scalars_of(record),
        }
    model = record.model
    return {
        "opset": model.opset,
        "ir_version": model.ir_version,
        "engine": model.engine,
        "sha256": model.digest.sha256,
        "signature": str(artifact.signature),
        **{key: value for key, value in record.source.to_dict().items() if value is not None},
        **{check.name: check.status for check in record.checks},
        **record.scalars,
    }
