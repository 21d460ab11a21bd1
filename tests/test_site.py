"""The site as ``make docs`` builds it, opened from disk in headless Chromium."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from docs.made import BROWSERS, ROOT

BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None and "CI" not in os.environ, reason="there is no Chromium here: apt-get install chromium"
    ),
]

MEASURE = """
const frames = [...document.querySelectorAll('iframe')];
document.body.innerText = JSON.stringify(frames.map(frame => {
  const page = frame.contentWindow, all = selector => [...page.document.querySelectorAll(selector)];
  return {
    page: frame.src.split('/site/')[1],
    overflow: page.document.documentElement.scrollWidth - page.innerWidth,
    outside: all('article > *').filter(e => e.getBoundingClientRect().right > page.innerWidth + 1).length,
    broken: all('td code').filter(e => getComputedStyle(e).wordBreak === 'break-word').length,
    letters: Math.min(99, ...all('img[src$=svg]').map(e => 16 * e.width / e.naturalWidth)),
  };
}));
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
    return folder


def browse(url: str, folder: Path) -> str:
    """Return the page after its scripts have run."""
    own = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command = [str(BROWSER), *own, "--virtual-time-budget=8000", "--allow-file-access-from-files", "--dump-dom", url]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_search_works_from_disk(site: Path, tmp_path: Path) -> None:
    found = browse(f"{(site / 'index.html').as_uri()}?q=tolerance", tmp_path)
    assert re.search(r"\d+ matching documents", found)
    assert "checks.html" in re.findall(r'<a href="([^"#?]*)[^"]*" class="md-search-result__link"', found)[0]


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert (
            re.findall(r'<(?:script|img|iframe|link)[^>]+(?:src|stylesheet" href)="https?:[^"]*', page.read_text())
            == []
        )


@pytest.mark.parametrize("width", [1440, 900, 390])
def test_pages_fit(site: Path, tmp_path: Path, width: int) -> None:
    pages = sorted(page for page in site.rglob("*.html") if page.name != "404.html" and "img" not in page.parts)
    assert len(pages) > 25
    frame = '<iframe style="border:0;width:{}px;height:900px" src="{}"></iframe>'
    view = tmp_path / "view.html"
    view.write_text(
        "".join(frame.format(width, page.as_uri()) for page in pages) + f"<script>onload=()=>{{{MEASURE}}}</script>"
    )
    found = re.search(r"<body>(\[.*\])</body>", browse(view.as_uri(), tmp_path), re.DOTALL)
    assert found
    measured = json.loads(html.unescape(found[1]))
    assert len(measured) == len(pages)
    assert [page for page in measured if page["overflow"] > 0 or page["outside"] or page["broken"]] == []
    assert min(page["letters"] for page in measured) > 8
