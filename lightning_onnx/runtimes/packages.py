"""The packages that contain onnxruntime: they share their files, so only one of them may be installed."""

from __future__ import annotations

from importlib import metadata

_PLAIN = "onnxruntime"

_OTHERS = ("onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml", "onnxruntime-qnn", "onnxruntime-training")
"""Packages with further execution providers, whose module is ``onnxruntime`` as well."""


def clash() -> str | None:
    """Return what is wrong if several packages of onnxruntime are installed, and how to cure it; None if it is not.

    This package requires ``onnxruntime``, so pip installs it beside one that the user asks for. Whichever pip unpacked
    last has overwritten the files of the other.
    """
    installed = [name for name in (_PLAIN, *_OTHERS) if _is_installed(name)]
    if len(installed) < 2:
        return None
    wanted = installed[-1]
    return (
        f"{' and '.join(installed)} are both installed, and have overwritten each other's files. "
        f"Run: pip uninstall -y {' '.join(installed)}; then: pip install {wanted}"
    )


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
