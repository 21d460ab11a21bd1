"""``docs/zoo.md``: the table of results."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from .result import Result, summary

_HEAD = """# Libraries

Modules of libraries, each trained as its library's quickstart does, on small or random data, with the library's own
`LightningModule`, data and engine if it has them; the only addition is `ONNXExport()`. The file is then run in
onnxruntime, without this package, at other batch sizes and at sizes that training has not seen, and compared with the
trained module in eval mode. Made by `make libraries` with {versions}.

**{cases} cases of {libraries} libraries: {summary}.**

- *right*: the file does what the module does at all of these sizes; *limited*: a dim is static, with a warning;
  *refused*: an error before training.
- *Preflight* is the time of the export and check before the first epoch; *plain* is that of
  `torch.onnx.export(module, batch)` on the trained module, or its error; it makes all dims static and checks nothing.
  Both are in seconds, on one busy machine: only their ratio means anything.

| library | case | result | dynamic dims | preflight | plain |
|---|---|---|---|---|---|
"""


def written(results: Sequence[Result]) -> str:
    """Return the page as Markdown."""
    names = ("torch", "lightning", "onnxruntime")
    head = _HEAD.format(
        versions=", ".join(f"{name} {importlib.metadata.version(name)}" for name in names),
        cases=len(results),
        libraries=len({result.library for result in results}),
        summary=summary(results),
    )
    return head + "".join(_row(result) for result in results)


def _row(result: Result) -> str:
    reason = result.expected or result.reason
    cells = (
        f"{result.library} {result.version}".strip(),
        result.case.partition("/")[2],
        result.kind if result.kind == "right" else f"{result.kind}: {_cell(reason)}",
        ", ".join(f"`{dim}`" for dim in result.free),
        _seconds(result.preflight),
        _seconds(result.plain) or _cell(result.plain_error),
    )
    return f"| {' | '.join(cells)} |\n"


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _cell(text: str) -> str:
    """Return text that Markdown and HTML show as it is, in a cell."""
    for mark in "\\`*_[]<>|":
        text = text.replace(mark, f"\\{mark}")
    return text
