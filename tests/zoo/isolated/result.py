"""The result of a case, and the file of results: one line of JSON each, appended as they come."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable
from pathlib import Path

KINDS = ("right", "limited", "refused", "wrong", "not installed")


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a case.

    Attributes:
        library: Name of the library.
        version: Its version; empty if it is not installed.
        case: Name of the case.
        kind: One of ``KINDS``, as in ``tests.zoo.run.Verdict``.
        reason: Why it is not right, or empty.
        expected: The reason that the case gives for a limit, or empty; read from the case as it is now.
        free: Names of the file's dynamic dims.
        preflight: Seconds of the export before the first epoch; None if there was none.
        plain: Seconds of ``torch.onnx.export`` on the same module and batch; None if it failed.
        plain_error: Its error, or empty.
    """

    library: str
    version: str
    case: str
    kind: str
    reason: str = ""
    expected: str = ""
    free: tuple[str, ...] = ()
    preflight: float | None = None
    plain: float | None = None
    plain_error: str = ""

    @property
    def is_as_expected(self) -> bool:
        """Whether it is right, or has the limit that the case describes."""
        return self.kind in (("refused", "limited") if self.expected else ("right",))


def append(path: Path, result: Result) -> None:
    """Append a result to the file of results."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dataclasses.asdict(result)) + "\n")


def read(path: Path) -> dict[str, Result]:
    """Return the newest result of each case."""
    if not path.exists():
        return {}
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {f["case"]: Result(**(f | {"free": tuple(f["free"])})) for f in found}


def shortened(text: str, length: int = 300) -> str:
    """Return text in one line, without the directories of this machine."""
    line = " ".join(text.split())
    line = re.sub(r"(?<![\w.])(?:/[\w.@+-]+)+/(?=[\w.@+-]+)", "", line)
    return line if len(line) <= length else line[: length - 1] + "…"


def summary(results: Iterable[Result]) -> str:
    """Return how many there are of each kind, in words."""
    kinds = [result.kind for result in results]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in KINDS if kind in kinds)
