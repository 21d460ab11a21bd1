"""Measures the rows: ``python -m benchmarks --before ../before --check --write docs/performance.md``.

Each row runs in a process of its own, with the package of this checkout and, after it, with that of another one, so
that both columns are measured under the same conditions.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from benchmarks import table
from benchmarks.rows import ROWS, Row

HERE = Path(__file__).parent
CHECKOUT = HERE.parent

Numbers = dict[str, float]


def measure(row: Row, checkout: Path, limit: float) -> Numbers | str:
    """Return a row's numbers with the package of a checkout, or why there are none.

    Args:
        row: The row.
        checkout: The directory that has ``lightning_onnx/`` and ``pyproject.toml``.
        limit: Seconds that it may take.
    """
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, str(HERE / "measures" / f"{row.name}.py"), str(checkout)]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=limit, env=environment, check=False, cwd=checkout
        )
    except subprocess.TimeoutExpired:
        return f"took more than {limit:.0f} s"
    for line in reversed(done.stdout.splitlines()):
        if line.startswith("NUMBERS "):
            found: Numbers = json.loads(line.removeprefix("NUMBERS "))
            return found
    return (done.stderr.strip().splitlines() or ["nothing was printed"])[-1][:200]


def main() -> None:
    """Measure, print the table, and write it or compare it with the goals if asked to."""
    parser = argparse.ArgumentParser(description="Measures what the package costs, and compares it with the goals.")
    parser.add_argument("rows", nargs="*", help=f"rows to measure (default: all): {', '.join(r.name for r in ROWS)}")
    parser.add_argument("--slow", action="store_true", help="also measure the rows that take minutes")
    parser.add_argument("--before", type=Path, metavar="CHECKOUT", help="another checkout, for a column beside")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a number is beyond 1.3 times its goal")
    parser.add_argument("--write", type=Path, metavar="FILE", help="a Markdown file with the marks of the table")
    parser.add_argument("--limit", type=float, default=3600, help="seconds that a row may take (default: 3600)")
    arguments = parser.parse_args()
    unknown = set(arguments.rows) - {row.name for row in ROWS}
    if unknown:
        parser.error(f"unknown rows: {', '.join(sorted(unknown))}")
    chosen = [
        row for row in ROWS if row.name in arguments.rows or (not arguments.rows and arguments.slow >= row.is_slow)
    ]
    results = []
    for row in chosen:
        before = None if arguments.before is None else measure(row, arguments.before.resolve(), arguments.limit)
        results.append(table.Result(row, before, measure(row, CHECKOUT, arguments.limit)))
        print(table.as_text(results[-1]), flush=True)
    if arguments.write is not None:
        table.write(arguments.write, results)
    missed = [miss for result in results for miss in result.missed]
    if missed and arguments.check:
        raise SystemExit(f"beyond {table.SLACK} times the goal: {'; '.join(missed)}")


if __name__ == "__main__":
    main()
