"""Packages that the package needs and lightning and torch do not, with the sizes in their RECORD files."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from kit import tell
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def closure(names: list[str]) -> set[str]:
    """Return the installed ones of some packages and of all that they need, by canonical name."""
    found: set[str] = set()
    pending = list(names)
    while pending:
        name = canonicalize_name(pending.pop())
        if name in found:
            continue
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        found.add(name)
        for requirement in map(Requirement, requires):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    return found


def megabytes(name: str) -> float:
    """Return the size of a package's files."""
    return sum(file.size or 0 for file in distribution(name).files or ()) / 1e6


def main() -> None:
    """Print the number of packages and their size."""
    text = (Path(sys.argv[1]) / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^dependencies = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert block is not None
    needed = [Requirement(line).name for line in re.findall(r'"([^"]+)"', block[1])]
    missing = [name for name in needed if not closure([name])]
    if missing:
        raise SystemExit(f"not installed here, so that the size is unknown: {', '.join(missing)}")
    own = closure(needed) - closure(["lightning", "torch"])
    tell({"packages": len(own), "MB": sum(map(megabytes, own))})


if __name__ == "__main__":
    main()
