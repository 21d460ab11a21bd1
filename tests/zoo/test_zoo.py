"""Every case of the zoo: trained with only ``ONNXExport()``, and its file checked independently."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from . import catalogue
from .case import Case
from .run import judge


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _parameters() -> list:
    return [pytest.param(case, id=case.name, marks=_marks(case)) for case in catalogue.CASES]


def _marks(case: Case) -> tuple[pytest.MarkDecorator, ...]:
    if case.name in catalogue.NIGHTLY:
        return (pytest.mark.nightly,)
    return () if case.fast else (pytest.mark.slow,)


@pytest.mark.parametrize("case", _parameters())
def test_case(case: Case, tmp_path: Path) -> None:
    for package in case.needs:
        pytest.importorskip(package)
    verdict = judge(case, tmp_path)
    assert verdict.kind in (("right",) if case.limit is None else ("refused", "limited")), verdict.reason
    assert not re.search(r"(^|; )batch", verdict.reason), "not even at other batch sizes"


def test_names_are_unique() -> None:
    names = [case.name for case in catalogue.CASES]
    assert len(set(names)) == len(names)
    assert set(names) >= catalogue.NIGHTLY
