"""Converts ONNX to ncnn with the program ``pnnx``; only its output, not its exit code, shows what it drops."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
from pathlib import Path

from lightning_onnx.errors import ConversionError
from lightning_onnx.runtimes.base import require

_NO_BATCH = 233
"""pnnx's batch index for a blob without a batch dim; such a model runs one sample at a time."""

_INDEX = re.compile(r"(?:ncnn\.Mat\((in\d+)|(out\d+))\.numpy\((?:\), )?batch_index=(\d+)\)")


@dataclasses.dataclass(frozen=True)
class Converted:
    """A model for ncnn.

    Attributes:
        param: The file of its layers.
        binary: The file of its weights.
        batch_index: The batch dim of each blob (``"in0"``, ``"out0"``), as in ncnn's Python binding.
    """

    param: Path
    binary: Path
    batch_index: dict[str, int]

    @property
    def takes_batches(self) -> bool:
        """Whether one call takes a batch."""
        return all(index != _NO_BATCH for index in self.batch_index.values())


def convert(model_path: Path, directory: Path, half: bool = False) -> Converted:
    """Convert an ONNX file.

    Args:
        model_path: The file; its weights may be external.
        directory: An empty directory for the model.
        half: Whether weights become float16, which is pnnx's own default.

    Raises:
        RuntimeUnavailable: If pnnx is not installed.
        ConversionError: If pnnx fails, or drops part of the model.
    """
    program = require("pnnx", "pnnx").EXEC_PATH
    _put(model_path, directory / model_path.name)
    done = subprocess.run(
        [program, model_path.name, f"fp16={int(half)}"],
        cwd=directory,
        env={**os.environ, "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    stem = model_path.name.removesuffix(".onnx").replace("-", "_").replace(".", "_")
    param, binary, script = (directory / f"{stem}{end}" for end in (".ncnn.param", ".ncnn.bin", "_ncnn.py"))
    if done.returncode or not all(file.is_file() for file in (param, binary, script)):
        raise ConversionError(f"pnnx ended with code {done.returncode}: {_last_line(done.stdout)}")
    dropped = re.findall(r"^ignore (.+)$", done.stdout, re.MULTILINE)
    if dropped:
        raise ConversionError(f"ncnn cannot run the model: pnnx drops {'; '.join(dict.fromkeys(dropped))}")
    return Converted(param, binary, batch_indices(script.read_text(encoding="utf-8")))


def _put(model_path: Path, place: Path) -> None:
    """Put the file where pnnx may write, with the weights in it: pnnx takes no values from other files."""
    import onnx

    model = onnx.load(model_path, load_external_data=False)
    if any(tensor.external_data for tensor in model.graph.initializer):
        onnx.load_external_data_for_model(model, str(model_path.parent))
        onnx.save(model, place)
    else:
        place.symlink_to(model_path)


def batch_indices(script: str) -> dict[str, int]:
    """Return the batch dim of each blob, from pnnx's example script.

    Example:
        >>> batch_indices('ex.input("in0", ncnn.Mat(in0.numpy(), batch_index=0).clone())')
        {'in0': 0}
    """
    return {given or got: int(index) for given, got, index in _INDEX.findall(script)}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it printed nothing"
