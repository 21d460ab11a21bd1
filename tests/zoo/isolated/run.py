"""Runs one case in a process of its library's environment."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

from .environment import CannotInstall, python_of
from .library import Library
from .result import Result, append, shortened

ROOT = Path(__file__).parents[3]


def run_case(library: Library, case: str, cache: Path, time_limit: float) -> Result:
    """Run a case, append its result to ``results.jsonl``, and return it.

    Args:
        library: The library.
        case: Name of the case.
        cache: Folder of environments, logs and results.
        time_limit: Seconds for the case; installing is not limited.
    """
    try:
        result = _in_process(library, case, cache, time_limit)
    except CannotInstall as error:
        result = Result(library.name, "", case, "not installed", shortened(str(error)))
    append(cache / "results.jsonl", result)
    return result


def _in_process(library: Library, case: str, cache: Path, time_limit: float) -> Result:
    python = python_of(library, cache / "environments")
    log = cache / "logs" / f"{case.replace('/', '-')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    offline = {"HF_HUB_OFFLINE": "1", "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    with tempfile.TemporaryDirectory() as folder, log.open("w", encoding="utf-8") as output:
        path = Path(folder, "result.json")
        command = [str(python.absolute()), "-m", "tests.zoo.isolated.one", case, str(path)]
        try:
            process = subprocess.run(
                command,
                cwd=folder,
                env={**os.environ, **offline},
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=time_limit,
            )
        except subprocess.TimeoutExpired:
            return Result(library.name, "", case, "wrong", f"it took more than {time_limit:.0f} s")
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8"))
            return Result(**(found | {"free": tuple(found["free"])}))
    last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] or [""]
    return Result(library.name, "", case, "wrong", shortened(f"the process ended with {process.returncode}: {last[0]}"))
