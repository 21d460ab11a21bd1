"""Other ranks wait for rank zero in a way that ends: at the limit, at SIGTERM, and when it is done."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import distributed

from lightning_onnx.errors import ONNXExportError
from lightning_onnx.training import ranks


def rank(number: int, *, received_sigterm: bool = False, world_size: int = 2) -> Any:
    return SimpleNamespace(world_size=world_size, is_global_zero=number == 0, received_sigterm=received_sigterm)


@pytest.fixture(autouse=True)
def _process_group(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(ranks, "_numbers", itertools.repeat(0))  # both ranks count in this process
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def test_another_rank_goes_on_when_rank_zero_is_done() -> None:
    ranks.wait_for_rank_zero(rank(0))
    ranks.wait_for_rank_zero(rank(1))


def test_another_rank_gives_up_at_the_limit() -> None:
    with pytest.raises(ONNXExportError, match=r"rank zero has not finished its ONNX export within 0\.05 s"):
        ranks.wait_for_rank_zero(rank(1), limit=0.05)


def test_sigterm_ends_the_wait() -> None:
    with pytest.raises(SIGTERMException):
        ranks.wait_for_rank_zero(rank(1, received_sigterm=True))


def test_an_interrupted_rank_zero_is_told_to_the_others() -> None:
    ranks.wait_for_rank_zero(rank(0), is_interrupted=True)
    with pytest.raises(ONNXExportError, match="rank zero was interrupted"):
        ranks.wait_for_rank_zero(rank(1))


def test_one_rank_waits_for_nobody() -> None:
    ranks.wait_for_rank_zero(rank(1, world_size=1))
