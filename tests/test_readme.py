"""The Python blocks of the README and of docs/ run, one page's after another, as if pasted into one session."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
NOT_RUN = {"trackers.md": "its blocks need the trackers' services"}

PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[tuple[int, str]]:
    """Each Python block with the number of lines before it."""
    text = page.read_text(encoding="utf-8")
    found = re.finditer(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, block.start(1)), block[1]) for block in found]


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(p, id=str(p.relative_to(ROOT)), marks=() if p == README else pytest.mark.slow)
        for p in PAGES
        if blocks_of(p) and p.name not in NOT_RUN
    ],
)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {"__name__": page.stem}
    for lines_before, block in blocks_of(page):
        exec(compile("\n" * lines_before + block, page, "exec", dont_inherit=True), namespace)


def test_readme_has_blocks() -> None:
    assert len(blocks_of(README)) >= 3


def test_every_python_block_is_found() -> None:
    """A block that is indented, or has text after its language, would not be run."""
    for page in PAGES:
        assert len(re.findall(r"```[^\S\n]*py", page.read_text(encoding="utf-8"))) == len(blocks_of(page)), page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_a_page_points_to_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", text)
    assert links or page != README
    assert [link for link in links if not (page.parent / link).exists()] == []
