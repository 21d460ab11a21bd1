"""``python -m tests.zoo NAME…`` runs cases and prints the results; without a name, it lists them."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

from . import catalogue
from .run import check, train


def main(names: list[str]) -> int:
    """Run the cases whose name contains one of ``names``."""
    if not names:
        print("\n".join(case.name for case in catalogue.CASES))
        return 0
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    wrong = 0
    exact = {case.name for case in catalogue.CASES}
    for case in catalogue.CASES:
        if not any(n == case.name or (n not in exact and n in case.name) for n in names):
            continue
        started = time.perf_counter()
        with tempfile.TemporaryDirectory() as directory:
            try:
                outcome = train(case, Path(directory))
                problems = check(case, outcome)
            except Exception:
                problems = [traceback.format_exc()]
            else:
                print("\n".join(f"  {line}" for line in outcome.warnings), end="\n" if outcome.warnings else "")
                if outcome.callback.artifact is not None:
                    made = outcome.callback.artifact
                    print(f"  {made.signature} by {made.manifest['model']['engine']}")
        wrong += bool(problems)
        print(
            "FAIL" if problems else "ok  ",
            case.name,
            f"{time.perf_counter() - started:.1f} s",
            *problems,
            sep=" | ",
            flush=True,
        )
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
