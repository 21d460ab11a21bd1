"""``python -m tests.zoo.isolated NAME…`` runs all cases, or those whose name contains a NAME; see ``make libraries``.

Cases that have a result are left out unless they are named exactly or ``--again`` is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path

from . import page
from .library import Library, all_libraries
from .result import read, summary
from .run import run_case

CACHE = Path("build/libraries")
PAGE = Path("docs/zoo.md")


def main(arguments: list[str]) -> int:
    """Run cases, and write the page; returns 1 if one of them is not as expected."""
    parser = argparse.ArgumentParser(prog="python -m tests.zoo.isolated", description=__doc__)
    parser.add_argument("names", nargs="*", help="cases, or parts of their names; default: all")
    parser.add_argument("--cache", type=Path, default=CACHE, help="folder of environments, logs and results")
    parser.add_argument("--again", action="store_true", help="also run cases that have a result")
    parser.add_argument("--time-limit", type=float, default=900, help="seconds for a case")
    parser.add_argument("--no-page", action="store_true", help=f"leave {PAGE} as it is")
    options = parser.parse_args(arguments)
    results = options.cache / "results.jsonl"
    libraries = all_libraries()
    for case, library in _chosen(libraries, options.names).items():
        # Read each time: several runs can share the work.
        if case in read(results) and not options.again and case not in options.names:
            continue
        result = run_case(library, case, options.cache, options.time_limit)
        print(result.kind, case, result.version, result.free, result.reason, sep=" | ", flush=True)
    done = read(results)
    cases = [case for library in libraries for case in library.cases if case.name in done]
    existing = [dataclasses.replace(done[case.name], expected=case.limit or "") for case in cases]
    if not options.no_page:
        PAGE.write_text(page.written(existing), encoding="utf-8")
    print(summary(existing))
    return int(not all(result.is_as_expected for result in existing))


def _chosen(libraries: list[Library], names: list[str]) -> dict[str, Library]:
    """Return the chosen cases with their libraries, in the order of the names."""
    cases = {case.name: library for library in libraries for case in library.cases}
    return {case: library for name in names or [""] for case, library in cases.items() if name in case}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
