"""Every test and every fixture starts from its own seed, whatever ran before it.

A plugin, because pytest does not ask a conftest below the root about fixtures of the session.
"""

from __future__ import annotations

import random
import zlib
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=0, help="Changes the random numbers of all tests and fixtures.")


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    seed(fixturedef.argname, request.config.getoption("seed"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    seed(pyfuncitem.name, pyfuncitem.config.getoption("seed"))


def seed(name: str, base: int) -> None:
    """Seed torch, numpy and Python.

    Args:
        name: The test's or fixture's: each has random numbers of its own.
        base: The value of ``--seed``.
    """
    import numpy as np
    import torch

    value = (zlib.crc32(name.encode()) + base) % 2**32
    random.seed(value)
    np.random.seed(value)
    torch.default_generator.manual_seed(value)  # manual_seed also notes a traceback for each device that is not in use
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(value)
