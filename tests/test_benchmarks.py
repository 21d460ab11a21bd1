"""The table of benchmarks: each row has a script, goals are compared with slack, and the document keeps other rows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import table
from benchmarks.rows import ROWS, Cell, Row

ROOT = Path(__file__).parents[1]
ROW = Row("refreshing", "writing", (Cell("small", 1.5), Cell("large", 1.5), Cell("shown")))


def test_each_row_has_a_script() -> None:
    assert all((ROOT / "benchmarks" / "measures" / f"{row.name}.py").is_file() for row in ROWS)
    assert len({(row.what, cell.name) for row in ROWS for cell in row.cells}) == sum(len(row.cells) for row in ROWS)


@pytest.mark.parametrize(
    ("after", "missed"),
    [
        ({"small": 1.5 * 1.3, "large": 0.1, "shown": 99.0}, []),
        ({"small": 1.5, "large": 1.96, "shown": 0.0}, ["refreshing, large: 1.96"]),
        ({"small": 1.5}, ["refreshing, large: None"]),
        ("it failed", ["refreshing: it failed"]),
    ],
)
def test_numbers_far_beyond_their_goal_are_missed(after: dict[str, float] | str, missed: list[str]) -> None:
    assert table.Result(ROW, None, after).missed == missed


def test_rows_are_written_between_the_marks_and_others_stay(tmp_path: Path) -> None:
    page, other = tmp_path / "page.md", Row("memory", "peak", (Cell("600 MB", 1.1),))
    page.write_text(f"# Title\n\n{table.BEGIN}\n{table.END}\nThe end.\n", encoding="utf-8")
    table.write(page, [table.Result(other, {"600 MB": 3.0}, {"600 MB": 1.01}), table.Result(ROW, None, "it failed")])
    table.write(page, [table.Result(ROW, {"small": 1.68}, {"small": 1.2345, "large": 0.5, "shown": 7})])
    text = page.read_text(encoding="utf-8")
    assert text.startswith("# Title\n")
    assert text.endswith("The end.\n")
    assert [line for line in text.splitlines() if line.startswith("| ")] == [
        "| what | | before | after | goal |",
        "| peak | 600 MB | 3 | 1.01 | ≤ 1.1 |",
        "| writing | small | 1.68 | 1.23 | ≤ 1.5 |",
        "| writing | large | not measured | 0.5 | ≤ 1.5 |",
        "| writing | shown | not measured | 7 |  |",
    ]
    assert text.count("Measured on") == 1


@pytest.mark.slow
def test_the_command_measures_a_row_of_two_checkouts_and_fails_beyond_the_goals(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"{table.BEGIN}\n{table.END}\n", encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks", "importing", "--check", "--before", str(ROOT), "--write", str(page)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    assert "import lightning_onnx" in done.stdout, done.stderr
    assert (done.returncode == 0) == ("beyond 1.3 times the goal" not in done.stderr)
    assert page.read_text(encoding="utf-8").count("| imports, in seconds |") == 2
