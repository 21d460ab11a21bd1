"""Seconds of commands, in new processes: the fastest of five runs."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import torch
from kit import fastest, quiet, tell
from torch import nn

from lightning_onnx import export


def main() -> None:
    """Print the seconds; the entry point is that of the checkout, as its script calls it."""
    text = (Path(sys.argv[1]) / "pyproject.toml").read_text(encoding="utf-8")
    module, function = re.search(r'^lightning-onnx = "([\w.]+):(\w+)"$', text, re.MULTILINE).groups()  # type: ignore[union-attr]
    script = [sys.executable, "-c", f"import sys; from {module} import {function}; sys.exit({function}())"]
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / "made"
        export(nn.Linear(3, 2), torch.randn(4, 3), directory=made)
        tell(
            {
                "lightning-onnx --help": fastest([*script, "--help"]),
                "lightning-onnx inspect DIR": fastest([*script, "inspect", str(made)]),
            }
        )


if __name__ == "__main__":
    quiet()
    main()
