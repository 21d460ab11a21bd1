"""A picture of a model as an SVG: its large parts as boxes in the order in which they run, and what flows between."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.onnxfile.graph_summary import MOST_BLOCKS, Block
from lightning_onnx.report.templates import template

_WIDTH, _LEFT, _BOX = 390, 66, 258  # so that the text can be read on a telephone
_HEIGHT, _GAP, _TOP = 34, 24, 22
_LANE = 10
"""Distance of the lines beside the boxes."""

_LANES = 5

_LONGEST_EXPRESSION = 12


@dataclasses.dataclass(frozen=True)
class _Box:
    top: int
    label: str
    kind: str
    shape: str
    follows: bool


def draw(blocks: Sequence[Block], signature: Signature) -> str | None:
    """Draw the parts of a model below each other, with lines beside them where a value passes others by.

    Args:
        blocks: The parts, in the order in which they run.
        signature: The graph's inputs and outputs.

    Returns:
        An ``<svg>`` element, or None if there are fewer than two parts.
    """
    if not 1 < len(blocks) <= MOST_BLOCKS:
        return None
    boxes = [
        _Box(
            _top(place),
            _short(block.label, 22 if block.class_name else 34),
            _short(block.class_name or "", 18),
            _shape(block.shape),
            place - 1 in block.sources,
        )
        for place, block in enumerate(blocks)
    ]
    return template("blocks.svg.jinja").render(
        width=_WIDTH,
        left=_LEFT,
        box=_BOX,
        height=_HEIGHT,
        gap=_GAP,
        bottom=_top(len(blocks)),
        boxes=boxes,
        lines=_lines(blocks),
        inputs=_short(", ".join(spec.name for spec in signature.inputs), 40),
        outputs=_short(", ".join(spec.name for spec in signature.outputs), 40),
    )


def _lines(blocks: Sequence[Block]) -> list[str]:
    """Return the paths of the lines that pass boxes by; those that overlap get lanes of their own."""
    ends: list[int] = []
    paths = []
    skipping = sorted((s, t) for t, block in enumerate(blocks) for s in block.sources if -1 <= s < t - 1)
    for source, target in skipping:
        lane = next((lane for lane, end in enumerate(ends) if end <= source), len(ends))
        ends[lane:] = [target, *ends[lane + 1 :]]
        x = _LEFT - 12 - _LANE * min(lane, _LANES - 1)
        stop = _top(target) + 10
        start = f"M{_LEFT} {_top(source) + _HEIGHT - 8}" if source >= 0 else f"M{_LEFT + _BOX // 2} {_TOP + 10}"
        paths.append(f"{start}H{x}V{stop}H{_LEFT}")
    return paths


def _top(place: int) -> int:
    return _TOP + _HEIGHT + (_HEIGHT + _GAP) * place


def _shape(shape: tuple[int | str, ...] | None) -> str:
    return _short(" × ".join(map(_dim, shape)), 32) if shape else ""


def _dim(dim: int | str) -> str:
    """Return a size or its name; a long expression, as convolutions make of a free size, would hide the other dims."""
    text = str(dim)
    return text if text.isidentifier() or len(text) <= _LONGEST_EXPRESSION else "…"


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
