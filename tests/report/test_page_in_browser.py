"""The report in a real browser: headless Chromium, wide and narrow, light and dark, and on paper."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import lightning_onnx
from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.parity import Parity

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        BROWSER is None and "CI" not in os.environ, reason="there is no Chromium here: apt-get install chromium"
    ),
]

LONG = "a_name_that_is_so_long_that_it_fits_on_no_telephone_" * 3


class Odd:
    """Fails, with a reason and a table that are too wide for a telephone."""

    name = "odd"

    def __call__(self, context: CheckContext) -> CheckResult:
        return CheckResult("odd", "failed", LONG, {"rows": {LONG: {f"column {i}": i / 7 for i in range(20)}}})


class Absent:
    name = "absent"

    def __call__(self, context: CheckContext) -> CheckResult:
        return CheckResult("absent", "skipped", "it is not installed: pip install absent")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    made = lightning_onnx.export(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)),
        torch.randn(2, 3, 8, 8),
        directory=tmp_path_factory.mktemp("report") / "convolutions",
        output_names=[LONG],
        checks=(Parity(), Odd(), Absent()),
        metadata={LONG: LONG},
    )
    return made.directory / "report.html"


MEASURE = """
const page = document.getElementById('page').contentWindow, root = page.document.documentElement;
const all = selector => [...page.document.querySelectorAll(selector)];
const scrolled = e => e.closest('.wide, pre');
const rgb = colour => colour.match(/[\\d.]+/g).map(Number);
const shine = c => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) =>
  sum + weight * (c[i] / 255 <= 0.03928 ? c[i] / 255 / 12.92 : ((c[i] / 255 + 0.055) / 1.055) ** 2.4), 0);
const behind = e => {
  for (; e; e = e.parentElement) {
    const c = rgb(page.getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c;
  }
  return [255, 255, 255];
};
const contrast = e => { const [a, b] = [shine(rgb(page.getComputedStyle(e).color)), shine(behind(e))];
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05); };
const size = e => { const r = e.getBoundingClientRect(); return [r.width, r.height]; };
document.body.innerText = JSON.stringify({
  width: page.innerWidth,
  overflow: root.scrollWidth - page.innerWidth,
  outside: all('body *').filter(e => !scrolled(e) && e.getBoundingClientRect().right > page.innerWidth + 1)
    .map(e => e.outerHTML.slice(0, 80)),
  headings: all('h2').map(e => e.innerText),
  plots: all('.plot svg').map(size),
  letters: Math.min(...all('.plot svg text').map(e => e.getBoundingClientRect().height)),
  bars: all('.bars span').map(e => size(e)[0]),
  buttons: all('button').map(e => e.textContent),
  scrolled: all('.wide').filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 60)),
  statuses: all('.status').map(e => e.innerText),
  closed: all('details:not([open])').length,
  contrast: Math.min(...all('body, .soft, .status, dd, th, td, pre').map(contrast)),
  dark: page.matchMedia('(prefers-color-scheme: dark)').matches,
});
"""


def look(report: Path, directory: Path, width: int, *flags: str) -> dict[str, Any]:
    """Open the report as it is in a frame of that width (a browser's own window is not so narrow) and measure."""
    frame = directory / "frame.html"
    frame.write_text(
        f'<body><iframe id="page" style="border:0;width:{width}px;height:900px" src="{report.as_uri()}"></iframe>'
        f"<script>onload = () => {{ {MEASURE} }}</script>"
    )
    dumped = browse("--allow-file-access-from-files", *flags, "--dump-dom", frame.as_uri(), directory=directory)
    found = re.search(r"<body>(\{.*?\})</body>", dumped, re.DOTALL)
    assert found, dumped[-2000:]
    measured: dict[str, Any] = json.loads(html.unescape(found[1]))
    assert measured["width"] == width
    return measured


def browse(*arguments: str, directory: Path) -> str:
    own = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={directory / 'profile'}"]
    command = [str(BROWSER), *own, "--window-size=1400,1000", "--virtual-time-budget=3000", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


@pytest.mark.parametrize("width", [1440, 900, 390, 320])
def test_it_fits(report: Path, tmp_path: Path, width: int) -> None:
    seen = look(report, tmp_path, width)
    assert seen["overflow"] <= 0
    assert seen["outside"] == []
    assert seen["headings"] == [
        "Weights", "Inputs and outputs", "Checks", "Answers side by side", "Load it", "The model", "Operators",
        "Size by module", "Modules", "Metadata", "Versions",
    ]  # fmt: skip
    assert len(seen["plots"]) == 2
    assert seen["buttons"] == ["Copy"] * 4  # options for trtexec, onnxruntime and OpenVINO, and the code
    assert seen["scrolled"] == [] or width > 544  # a table of 20 columns is laid out as a list where it is narrow
    assert seen["plots"][0][0] > min(width, 560) * 0.8
    assert seen["letters"] > 7.5
    assert max(seen["bars"]) > width / 8
    assert seen["statuses"] == ["✗ failed", "✓ passed", "✗ failed", "– skipped"]
    assert seen["contrast"] >= 4.5
    assert not seen["dark"]
    picture = tmp_path / f"report-{width}.png"
    browse(f"--screenshot={picture}", f"--window-size={max(width, 500)},2400", report.as_uri(), directory=tmp_path)
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_dark(report: Path, tmp_path: Path) -> None:
    seen = look(report, tmp_path, 390, "--blink-settings=preferredColorScheme=0")
    assert seen["dark"]
    assert seen["contrast"] >= 4.5


def test_it_prints(report: Path, tmp_path: Path) -> None:
    paper = tmp_path / "report.pdf"
    browse(f"--print-to-pdf={paper}", report.as_uri(), directory=tmp_path)
    assert paper.read_bytes().startswith(b"%PDF")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes())) <= 8
