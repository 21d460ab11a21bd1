"""The highest opset and IR version that each program loads, in one table."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

from lightning_onnx.errors import ConfigurationError, did_you_mean


@dataclasses.dataclass(frozen=True)
class Target:
    """The newest file that a program loads.

    Attributes:
        name: The program, as the user named it.
        opset: The highest opset that it loads.
        ir_version: The highest IR version that it loads.
    """

    name: str
    opset: int
    ir_version: int


_ONNXRUNTIME: tuple[tuple[str, int, int, int], ...] = (
    # Version, opset, IR version, opset of ai.onnx.ml. A version that is not listed equals the one before it.
    # Up to 1.14 not measured: what onnx.helper.VERSION_TABLE gives for the onnx release that each was built with (1.9,
    # 1.10, 1.11, 1.12, 1.13); copies of onnxruntime's own page differ. Nothing is claimed for versions below 1.8.
    ("1.8", 14, 7, 2),
    ("1.9", 15, 8, 2),
    ("1.11", 16, 8, 2),
    ("1.12", 17, 8, 2),
    ("1.14", 18, 8, 3),
    # From 1.15 on measured: one Relu at each opset and IR version, loaded on the CPU by the last patch release of each
    # minor version on PyPI.
    ("1.15", 19, 9, 3),
    ("1.17", 20, 9, 4),
    ("1.18", 21, 10, 5),
    ("1.21", 22, 10, 5),
    ("1.23", 23, 11, 5),
    ("1.24", 25, 13, 5),
    ("1.25", 26, 13, 5),
    ("1.32", 28, 14, 5),
)

_OTHERS: Mapping[str, tuple[int, int]] = {
    # OpenVINO 2026.4 loads a Relu at every opset up to 28 and every IR version up to 14. Newer operators were seen to
    # run up to opset 23 (Attention, RMSNormalization), whose onnx release has IR version 11.
    "openvino": (23, 11),
    # pnnx 20261020 converts opsets 18 to 22. At 23 torch writes Attention and RMSNormalization, which pnnx does not
    # have; at 28 pnnx crashes.
    "ncnn": (22, 10),
    # Not measured, which takes a GPU: 10.0 was built with onnx 1.16 (IR version 10), and 20 is the highest opset that
    # onnx-tensorrt is known to list for it. Later releases of 10 may load more.
    "tensorrt-10": (20, 10),
    # https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/onnx-opset-guide.html: opset 25, onnx 1.20.
    "tensorrt-11": (25, 13),
}


def find_target(name: str) -> Target:
    """Return what a program loads.

    Args:
        name: ``"onnxruntime>=X.Y"``, ``"openvino"``, ``"ncnn"``, ``"tensorrt-10"`` or ``"tensorrt-11"``.

    Raises:
        ConfigurationError: If the program or its version is not in the table.

    Example:
        >>> find_target("onnxruntime>=1.17")
        Target(name='onnxruntime>=1.17', opset=20, ir_version=9)
    """
    if isinstance(name, str) and name in _OTHERS:
        return Target(name, *_OTHERS[name])
    asked = re.fullmatch(r"onnxruntime>=(\d+\.\d+)(?:\.\d+)?", name.replace(" ", "")) if isinstance(name, str) else None
    known = [row for row in _ONNXRUNTIME if asked and _parts(row[0]) <= _parts(asked[1])]
    if not known:
        raise ConfigurationError(
            f"target={name!r} is not known{did_you_mean(name, _OTHERS)} Choose one of "
            f"{', '.join(map(repr, _OTHERS))}, or 'onnxruntime>=X.Y' from {_ONNXRUNTIME[0][0]}."
        )
    return Target(name, *known[-1][1:3])


def oldest_onnxruntime(opsets: Mapping[str, int], ir_version: int) -> str | None:
    """Return the oldest onnxruntime that loads a file, as far back as the table goes.

    Args:
        opsets: The file's opsets by domain.
        ir_version: The file's IR version.

    Returns:
        A version; None if no version in the table loads it, or if it has operators of a domain outside the table.

    Example:
        >>> oldest_onnxruntime({"": 20}, 10), oldest_onnxruntime({"": 20}, 9)
        ('1.18', '1.17')
    """
    wanted = {"ai.onnx" if domain == "" else domain: version for domain, version in opsets.items()}
    if not set(wanted) <= {"ai.onnx", "ai.onnx.ml"}:
        return None
    for version, opset, ir, ml in _ONNXRUNTIME:
        if wanted.get("ai.onnx", 0) <= opset and ir_version <= ir and wanted.get("ai.onnx.ml", 0) <= ml:
            return version
    return None


def _parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
