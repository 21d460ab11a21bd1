"""The rows of the table: what is measured by which script of ``measures/``, and the goal of each number."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Cell:
    """One number of a row.

    Attributes:
        name: Its key in what the script prints.
        goal: What it should be at most; None if it is only shown.
    """

    name: str
    goal: float | None = None


@dataclasses.dataclass(frozen=True)
class Row:
    """A script, run in a process of its own.

    Attributes:
        name: Name of the script without ``.py``.
        what: What the numbers are, with their unit.
        cells: The numbers.
        is_slow: Whether it takes minutes, and is measured only with ``--slow``.
    """

    name: str
    what: str
    cells: tuple[Cell, ...]
    is_slow: bool = False


ROWS = (
    Row(
        "exporting",
        "`export()` with parity, in units of `torch.onnx.export(dynamo=True, optimize=True)`",
        (Cell("resnet50", 1.15), Cell("vit_b_16", 1.15), Cell("encoder 6 x 256", 1.15)),
    ),
    Row(
        "captures",
        "captures (`torch.export.export`) in a run with preflight and the end; *again*: those refused before",
        (
            Cell("default", 1),
            Cell("no checks, 4 checkpoints", 1),
            Cell("MetricParity, 4 checkpoints", 1),
            Cell("a refused module: again", 0),
        ),
    ),
    Row(
        "refreshing",
        "writing new weights without checks, in units of `torch.save(state_dict)`",
        (Cell("resnet18", 1.5), Cell("600 MB of Linear", 1.5)),
    ),
    Row(
        "command_line",
        "the command line, in seconds",
        (Cell("lightning-onnx --help", 0.5), Cell("lightning-onnx inspect DIR", 1.0)),
    ),
    Row(
        "importing",
        "imports, in seconds",
        (Cell("from lightning_onnx import ONNXArtifact", 0.5), Cell("import lightning_onnx", 0.3)),
    ),
    Row(
        "memory",
        "peak memory of `export()` beyond the module's own, in units of its weights",
        (Cell("600 MB of Linear", 1.1),),
    ),
    Row(
        "dependencies",
        "what is installed beside the dependencies of lightning and torch",
        (Cell("packages"), Cell("MB", 106)),
    ),
    Row(
        "calls",
        "recording a call in training, in microseconds, when so many have been recorded",
        (Cell("1", 50), Cell("100", 50), Cell("10,000", 50)),
    ),
    Row(
        "layers",
        "seconds of `export()` for each layer of a module with so many",
        (Cell("10"), Cell("100"), Cell("100 in units of 10", 1.0)),
    ),
    Row(
        "many_layers",
        "the same for 1,000 layers",
        (Cell("1,000"), Cell("1,000 in units of 100", 1.0)),
        is_slow=True,
    ),
    Row(
        "many_checkpoints",
        '200 checkpoints with `when="checkpoint"`: the last twenty in units of the first twenty',
        (Cell("seconds each", 1.0), Cell("resident memory", 1.05)),
        is_slow=True,
    ),
    Row(
        "detectors",
        "`fit` with detectors of random weights, in seconds, and the share of the modules' own runs",
        (
            Cell("retinanet: seconds"),
            Cell("retinanet: own runs", 0.25),
            Cell("fasterrcnn: seconds"),
            Cell("fasterrcnn: own runs", 0.25),
        ),
        is_slow=True,
    ),
    Row(
        "refusals",
        "pytorch-forecasting's TFT: refused captures, and those of them that were refused before",
        (Cell("refused"), Cell("again", 0)),
        is_slow=True,
    ),
)
