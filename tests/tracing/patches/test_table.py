"""Each patch is needed with the torch that is installed, and is taken out again."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from torch.distributions import Distribution

from lightning_onnx.tracing.patches import table
from lightning_onnx.tracing.patches.patch import Patch
from tests.tracing.patches.cases import CASES

PATCHES = [pytest.param(patch, id=patch.case) for patch in table.PATCHES]


@pytest.fixture(autouse=True)
def _distributions_check_values() -> object:
    before = Distribution._validate_args
    yield
    Distribution.set_default_validate_args(before)


def test_each_patch_has_a_case_of_its_own() -> None:
    assert sorted(patch.case for patch in table.PATCHES) == sorted(CASES)


@pytest.mark.parametrize("patch", PATCHES)
def test_the_case_holds(patch: Patch, capfd: pytest.CaptureFixture[str]) -> None:
    CASES[patch.case](capfd)


@pytest.mark.parametrize("patch", PATCHES)
@pytest.mark.xfail(strict=True, reason="torch needs the patch")
def test_the_case_without_the_patch(
    patch: Patch, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Passes, and so fails the suite, once the installed torch does not need the patch."""
    monkeypatch.setattr(table, "PATCHES", tuple(p for p in table.PATCHES if p is not patch))
    CASES[patch.case](capfd)
