"""Prints the lowest versions that the package allows, one ``name==version`` a line, as constraints for pip."""

from __future__ import annotations

from importlib import metadata

from packaging.requirements import Requirement


def lowest() -> dict[str, str]:
    """Return the lowest version of each package that is always required, by its name."""
    listed = map(Requirement, metadata.requires("lightning-onnx") or [])
    return {r.name: next(s.version for s in r.specifier if s.operator == ">=") for r in listed if r.marker is None}


if __name__ == "__main__":
    print("\n".join(f"{name}=={version}" for name, version in lowest().items()))
