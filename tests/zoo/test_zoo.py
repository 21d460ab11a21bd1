"""Every case of the zoo: trained with only ``ONNXExport()``, and its file checked independently."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lightning_onnx.errors import ONNXExportError

from . import catalogue
from .case import Case
from .run import check, train


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _parameters() -> list:
    cases = [case for case in catalogue.CASES if case.name not in catalogue.EXTRA]
    return [pytest.param(case, id=case.name, marks=() if case.fast else pytest.mark.slow) for case in cases]


@pytest.mark.parametrize("case", _parameters())
def test_case(case: Case, tmp_path: Path) -> None:
    for package in case.needs:
        pytest.importorskip(package)
    if case.limit is not None:
        _expect_a_message(case, tmp_path)
        return
    outcome = train(case, tmp_path)
    assert check(case, outcome) == []
    assert outcome.callback.artifact.passed


def _expect_a_message(case: Case, directory: Path) -> None:
    """If torch cannot export a module, there is an error before training, or a file that is right within its limits."""
    try:
        outcome = train(case, directory)
    except ONNXExportError:
        return
    assert any("static" in line for line in outcome.warnings), outcome.warnings
    problems = check(case, outcome)
    assert not any(line.startswith(("no file", "same", "batch")) for line in problems), problems


def test_names_are_unique() -> None:
    names = [case.name for case in catalogue.CASES]
    assert len(set(names)) == len(names)
    assert set(names) >= catalogue.EXTRA
