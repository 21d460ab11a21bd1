"""Prints the Python of an environment that has Ray and shares all other packages with this one; it is made first."""

from __future__ import annotations

from pathlib import Path

from tests.zoo.isolated.environment import python_of
from tests.zoo.isolated.library import Library

RAY = Library("ray", cases=(), requires=("ray[train,tune]>=2.60",))

if __name__ == "__main__":
    print(python_of(RAY, Path("build/ray")))
