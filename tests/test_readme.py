"""The Python blocks of the README and of docs/ run, one page's after another, as if pasted into one session.

What they print is what the page shows, apart from numbers.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.printed import blocks_of, printed_by, with_printed

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
NOT_RUN = {"trackers.md": "its blocks need the trackers' services"}

PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES if blocks_of(p) and p.name not in NOT_RUN],
)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert with_printed(text, printed_by(page)) == text  # the page shows what its code prints


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


def test_what_is_printed_now_replaces_what_a_page_shows() -> None:
    page = (
        "<!-- printed -->\n\n```text\nparity passed over 15 cases\n```\n\n"
        "```python\nprint(signature)\n# (x: float32[batch, 4])\nprint(parity)\n```\n"
    )
    assert with_printed(page, {8: "(x: float32[batch, 6])\n", 10: "parity passed over 17 cases\n"}) == page
    changed = with_printed(page, {8: "(rows: float32[batch, 4])\n", 10: "parity failed\n"})
    assert changed == page.replace("(x:", "(rows:").replace("parity passed over 15 cases", "parity failed")
