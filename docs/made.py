"""Makes what the documents show of a run: a report to open, a picture of it, and printed lines.

``make docs`` runs it. A file is written only if more than numbers has changed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from docs.printed import printed_by, with_printed, without_numbers

ROOT = Path(__file__).parent.parent
IMAGES = ROOT / "docs" / "img"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = 900, 1485
"""Width and height of the picture in pixels: the upper part of the report, down to the plot of the differences."""


def main() -> None:
    """Bring the documents up to date, and name the files that were written."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        write_report(Path(folder))
        for page in sorted((ROOT / "docs").glob("*.md")):
            if "<!-- printed -->" in page.read_text(encoding="utf-8"):
                write_printed(page)
        os.chdir(ROOT)


def write_printed(page: Path) -> None:
    """Run the code of a page, and write what it prints into the page.

    Args:
        page: A file of Markdown.
    """
    text = page.read_text(encoding="utf-8")
    with contextlib.redirect_stdout(sys.stderr):
        changed = with_printed(text, printed_by(page))
    if changed != text:
        page.write_text(changed, encoding="utf-8")
        print(f"written: {page.relative_to(ROOT)}")


def write_report(folder: Path) -> None:
    """Train the demo for two epochs, and keep its report and a picture of it.

    Args:
        folder: Where the run goes.
    """
    command = [sys.executable, ROOT / "examples" / "finetune_resnet.py", "--epochs", "2", "--root", folder / "runs"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    made = next((folder / "runs" / "tensorboard").rglob("report.html"))
    page, picture = IMAGES / "report.html", IMAGES / "report.png"
    is_old = not page.exists() or outline(page) != outline(made)
    if is_old:
        shutil.copyfile(made, page)
        print(f"written: {page.relative_to(ROOT)}")
    browser = find_browser()
    if browser is None:
        print(f"There is no Chromium here, so {picture.name} stays as it is: apt-get install chromium")
    elif is_old or not picture.exists():
        photograph(browser, page.as_uri(), picture, SIZE)
        print(f"written: {picture.relative_to(ROOT)}")


def find_browser() -> str | None:
    """Return the path of Chromium; None if it is not installed."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def outline(report: Path) -> list[str]:
    """Return the style of a report, its headings and what its rows are called, without numbers: the same for each run.

    Args:
        report: A page.
    """
    text = report.read_text(encoding="utf-8")
    pairs = re.findall(r'<table class="pairs">.*?</table>', text, re.DOTALL)
    rows = [row for table in pairs for row in re.findall(r'<th scope="row">.*?</th>', table)]
    parts = re.findall(
        r'<style>.*?</style>|<h\d>.*?</h\d>|<th scope="col">.*?</th>|<figcaption.*?</figcaption>', text, re.DOTALL
    )
    return [without_numbers(part) for part in (*parts, *rows)]


def photograph(browser: str, url: str, picture: Path, size: tuple[int, int]) -> None:
    """Take a picture of the upper part of a page.

    Args:
        browser: The program.
        url: The page.
        picture: Where the picture goes.
        size: Width and height in pixels.
    """
    with tempfile.TemporaryDirectory() as profile:
        own = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--user-data-dir={profile}"]
        shown = [f"--window-size={size[0]},{size[1]}", "--virtual-time-budget=15000", f"--screenshot={picture}"]
        subprocess.run([browser, *own, *shown, url], check=True, capture_output=True, timeout=240)


if __name__ == "__main__":
    main()
