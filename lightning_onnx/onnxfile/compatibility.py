"""What a file may be for a program to load it: the highest opset and IR version of each, in one table."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping

from lightning_onnx.errors import ConfigurationError


@dataclasses.dataclass(frozen=True)
class Target:
    """What a program takes.

    Attributes:
        name: As it was asked for.
        opset: The highest opset.
        ir_version: The highest IR version.
    """

    name: str
    opset: int
    ir_version: int


_ONNXRUNTIME: tuple[tuple[str, int, int, int], ...] = (
    # version, opset, IR version, opset of ai.onnx.ml; a version that is not here is as the one before it.
    # To 1.14 not measured: opset and IR version that onnx.helper.VERSION_TABLE has for the onnx release that each was
    # built with (1.9, 1.10, 1.11, 1.12, 1.13; copies of onnxruntime's own page differ). Below 1.8 nothing is claimed.
    ("1.8", 14, 7, 2),
    ("1.9", 15, 8, 2),
    ("1.11", 16, 8, 2),
    ("1.12", 17, 8, 2),
    ("1.14", 18, 8, 3),
    # From 1.15 measured: one Relu at each opset and IR version, loaded in each release from PyPI (the last patch of
    # each minor version, on the CPU).
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
    # OpenVINO 2026.4 loads a Relu at every opset to 28 and every IR version to 14; its operators were seen to run to
    # opset 23 (Attention, RMSNormalization), whose onnx release has IR version 11.
    "openvino": (23, 11),
    # pnnx 20261020 converts opsets 18 to 22; at 23 torch writes Attention and RMSNormalization, which it has not, and
    # at 28 it dies.
    "ncnn": (22, 10),
    # Not measured, for want of a GPU: what 10.0 was built with, onnx 1.16 (IR version 10), and opset 20, the highest
    # that onnx-tensorrt was known to name for it. Later releases of 10 may take more.
    "tensorrt-10": (20, 10),
    # https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/onnx-opset-guide.html: opset 25, onnx 1.20.
    "tensorrt-11": (25, 13),
}


def find_target(name: str) -> Target:
    """Return a target.

    Args:
        name: ``"onnxruntime>=1.17"``, or another name of the table.

    Raises:
        ConfigurationError: If it is not known.

    Example:
        >>> find("onnxruntime>=1.17")
        Target(name='onnxruntime>=1.17', opset=20, ir_version=9)
    """
    if isinstance(name, str) and name in _OTHERS:
        return Target(name, *_OTHERS[name])
    asked = re.fullmatch(r"onnxruntime>=(\d+\.\d+)(?:\.\d+)?", name.replace(" ", "")) if isinstance(name, str) else None
    known = [row for row in _ONNXRUNTIME if asked and _parts(row[0]) <= _parts(asked[1])]
    if not known:
        raise ConfigurationError(
            f"target={name!r} is not known. Choose one of {', '.join(map(repr, _OTHERS))}, or 'onnxruntime>=X.Y' from "
            f"{_ONNXRUNTIME[0][0]}."
        )
    return Target(name, *known[-1][1:3])


def oldest_onnxruntime(opsets: Mapping[str, int], ir_version: int) -> str | None:
    """Return the oldest onnxruntime that can load a file, as far back as the table goes.

    Args:
        opsets: By domain.
        ir_version: The file's.

    Returns:
        A version, or None where no known one can, or where operators of another domain would have to be known.

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


# What the installed packages can write and run ----------------------------------------------------------------------

DEFAULT_OPSET = 20
"""torch's own default, and low enough for the runtimes that know no opset 23 (pnnx, MNN)."""

_DYNAMO_LOWEST = 17
"""The torch.export based engine writes 18 and above as asked, and 17 for some modules; below it writes 18."""

_SCRIPT = (9, 20)
"""The TorchScript based engine; ``torch.onnx`` names these limits in its errors alone."""

_ORT_LOWEST = 7
"""onnxruntime's compatibility page: "ONNX 1.2 and above", which is opset 7."""


@dataclasses.dataclass(frozen=True)
class Opsets:
    """Lowest and highest opset of each installed package.

    Attributes:
        lowest: The lowest that some engine writes and onnxruntime runs.
        highest: The highest.
        default: What is written when none is asked for.
        onnx: Of the onnx package.
        onnxruntime: Of onnxruntime, by the onnx release that it was built with.
        engines: Of each engine of torch.
    """

    lowest: int
    highest: int
    default: int
    onnx: tuple[int, int]
    onnxruntime: tuple[int, int]
    engines: dict[str, tuple[int, int]]


@functools.cache
def opsets() -> Opsets:
    """Return the opsets that the installed torch, onnx and onnxruntime can write and run.

    Example:
        >>> opsets().default
        20
    """
    import onnx.defs

    known = onnx.defs.onnx_opset_version()
    runs = _onnxruntime_highest(known)
    engines = {"dynamo": (_DYNAMO_LOWEST, min(known, runs)), "torchscript": (_SCRIPT[0], min(_SCRIPT[1], runs))}
    lowest = min(low for low, _ in engines.values())
    highest = max(high for _, high in engines.values())
    return Opsets(lowest, highest, DEFAULT_OPSET, (1, known), (_ORT_LOWEST, runs), engines)


def _onnxruntime_highest(known: int) -> int:
    """Find the highest opset that onnxruntime loads; it has no call that tells."""
    import onnxruntime
    from onnx import TensorProto, helper

    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", value[:1], value[1:])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    for opset in range(known, DEFAULT_OPSET, -1):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:  # the classes of its errors are not public
            continue
        return opset
    return DEFAULT_OPSET
