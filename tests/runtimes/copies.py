"""Checks that a session returns copies of its arrays; runs in the worker process."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np


def check(target: str, model_path: str) -> None:
    module, _, attribute = target.partition(":")
    session = getattr(importlib.import_module(module), attribute)().load(Path(model_path))
    ones, zeros = np.ones((1, 4), "float32"), np.zeros((1, 4), "float32")
    first = session.run({"input": ones})["output"]
    kept = first.copy()
    session.run({"input": zeros})
    np.testing.assert_array_equal(first, kept)
    first[:] = 7  # and can be written to
    np.testing.assert_array_equal(session.run({"input": ones})["output"], kept)
