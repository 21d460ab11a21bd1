"""The peak of resident memory in ``export()`` beyond what it was before, in units of the module's weights (Linux)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from kit import layers, quiet, tell
from torch import nn

from lightning_onnx import export


def resident(field: str) -> int:
    """Return a field of this process, in bytes: ``VmRSS`` for now, ``VmHWM`` for the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1]) * 1024


def main() -> None:
    """Print the ratio."""
    torch.manual_seed(0)
    net, batch = layers(17, 3000), torch.randn(2, 3000)
    with tempfile.TemporaryDirectory() as directory:
        export(nn.Linear(3, 2), torch.randn(2, 3), directory=f"{directory}/imports")
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = resident("VmRSS")
        export(net, batch, directory=f"{directory}/large")
        beyond = resident("VmHWM") - before
    tell({"600 MB of Linear": beyond / sum(p.nbytes for p in net.parameters())})


if __name__ == "__main__":
    quiet()
    main()
