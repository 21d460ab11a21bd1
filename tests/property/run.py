"""Checks the random modules of many seeds, shrinks those that fail, and prints a summary.

Each seed leaves a file in the results' folder, so that a run that was stopped goes on, and several may run at once.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import json
import multiprocessing
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from tests.property.program import Program, generate
from tests.property.shrink import shrink
from tests.property.verdict import Verdict, verdict_of

MOST_REFUSALS = 0.02
"""Maximum share of refused modules, each with a true reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run seeds and print a summary; returns 0 if there is no false pass, and few refusals."""
    parser = argparse.ArgumentParser(prog="python -m tests.property", description="A verdict on random modules.")
    parser.add_argument("--seeds", default="0:40", help="START:END, or one seed")
    parser.add_argument("--results", type=Path, default=Path("build/property"), help="folder of the results")
    parser.add_argument("--jobs", type=int, default=1, help="processes; 0: none but this one")
    parser.add_argument("--no-shrink", action="store_true", help="leave failing modules as they are")
    options = parser.parse_args(arguments)
    start, _, end = options.seeds.partition(":")
    seeds = range(int(start), int(end) if end else int(start) + 1)
    options.results.mkdir(parents=True, exist_ok=True)
    work = [(seed, options.results, not options.no_shrink) for seed in seeds]
    if options.jobs:
        with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
            for line in pool.imap_unordered(_run_seed, work):
                print(line, flush=True)
    else:
        for line in map(_run_seed, work):
            print(line, flush=True)
    return _summary([_read(options.results / f"{seed}.json") for seed in seeds])


def _run_seed(work: tuple[int, Path, bool]) -> str:
    """Check one seed, unless it is done or another process has it; returns the text to print."""
    seed, results, shrinks = work
    path = results / f"{seed}.json"
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return f"{seed}: {_read(path).get('kind', 'in work elsewhere')}"
    torch.set_num_threads(1)
    done = False
    try:
        record = _record(generate(seed), shrinks)
        path.write_text(json.dumps(record, indent=1), encoding="utf-8")
        done = True
    finally:
        if not done:
            path.unlink()  # stopped: the next run takes it again
    problem = f"\n{record['reason']}\n{record['code']}" if record["kind"] != "right" else ""
    return f"{seed}: {record['kind']} ({record['seconds']:.1f} s){problem}"


def _record(program: Program, shrinks: bool) -> dict[str, object]:
    verdict = _judged(program)
    if verdict.is_fault and shrinks:
        program = shrink(program, lambda smaller: _judged(smaller).kind == verdict.kind)
        verdict = _judged(program)
    return {**dataclasses.asdict(verdict), "seed": program.seed, "code": str(program)}


def _judged(program: Program) -> Verdict:
    """Return the verdict; an exception that is not one of the package's own is a fault as well."""
    try:
        return verdict_of(program)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return Verdict("error", f"{type(error).__name__}: {error} ({Path(last.filename).name}, line {last.lineno})")


def _read(path: Path) -> Mapping[str, object]:
    with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
        found = json.loads(path.read_text(encoding="utf-8"))
        assert isinstance(found, dict)
        return found
    return {}


def _summary(records: Sequence[Mapping[str, object]]) -> int:
    kinds = collections.Counter(str(record.get("kind", "not judged")) for record in records)
    print("\n" + ", ".join(f"{kinds[kind]} {kind}" for kind in sorted(kinds)))
    static = sum(bool(record.get("static")) for record in records)
    print(f"{static} with a dim that is static although training saw several sizes of it")
    wrong = kinds["false pass"] + kinds["false alarm"] + kinds["error"]
    return 1 if wrong or kinds["refused"] > MOST_REFUSALS * len(records) else 0
