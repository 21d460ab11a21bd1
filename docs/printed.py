"""What the Python blocks of a page print, and where the page shows it.

A page shows it as comments below a call of ``print``; the prints without such comments are shown together, in the block
of text after ``<!-- printed -->``.
"""

from __future__ import annotations

import random
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import torch

_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_TOGETHER = re.compile(r"(?<=^<!-- printed -->\n\n```text\n)(.*?)(?=^```$)", re.MULTILINE | re.DOTALL)
_PRINT = re.compile(r"\s*print\(.*\)$")
_COMMENT = re.compile(r"\s*# ")
_COLUMNS = 92


def blocks_of(page: Path) -> list[tuple[int, str]]:
    """Return each Python block with the number of lines before it.

    Args:
        page: A file of Markdown.
    """
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, block.start(1)), block[1]) for block in _BLOCK.finditer(text)]


def printed_by(page: Path) -> dict[int, str]:
    """Run all blocks in the working directory, one after another and seeded, and return what each line prints.

    Args:
        page: A file of Markdown.
    """
    found: dict[int, str] = {}

    def recording_print(*values: object) -> None:
        line = sys._getframe(1).f_lineno
        found[line] = found.get(line, "") + " ".join(map(str, values)) + "\n"

    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    namespace: dict[str, Any] = {"__name__": page.stem, "print": recording_print}
    for lines_before, block in blocks_of(page):
        exec(compile("\n" * lines_before + block, page, "exec", dont_inherit=True), namespace)
    return found


def with_printed(text: str, printed: dict[int, str]) -> str:
    """Return the text of a page with what its code prints; what differs in numbers or line breaks only stays.

    Args:
        text: The text of the page.
        printed: What each line prints.
    """
    lines = text.splitlines()
    together = []
    for number in sorted(printed, reverse=True):
        end = number
        while _PRINT.match(lines[number - 1]) and end < len(lines) and _COMMENT.match(lines[end]):
            end += 1
        if end == number:
            together.append(printed[number])
        else:
            shown = "".join(_COMMENT.sub("", line, count=1) + "\n" for line in lines[number:end])
            margin = " " * (len(lines[number]) - len(lines[number].lstrip()))
            if not _is_same(shown, printed[number]):
                wrapped = [part for line in printed[number].splitlines() for part in textwrap.wrap(line, _COLUMNS)]
                lines[number:end] = [f"{margin}# {part}" for part in wrapped]
    changed = "".join(f"{line}\n" for line in lines)
    now = "".join(reversed(together))
    return _TOGETHER.sub(lambda shown: shown[0] if _is_same(shown[0], now) else now, changed)


def _is_same(shown: str, printed: str) -> bool:
    return without_numbers(shown).split() == without_numbers(printed).split()


def without_numbers(text: str) -> str:
    """Return a text with ``0`` for each number, which may differ between runs and machines."""
    return re.sub(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?", "0", text)
