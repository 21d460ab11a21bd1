"""Autocast that a method enters itself is off in this thread, but not in others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from lightning_onnx.module.autocast import autocast_off


@torch.autocast("cpu", dtype=torch.bfloat16)
def decorated(x: Any) -> Any:
    return x @ x


def in_a_context(x: Any) -> Any:
    with torch.amp.autocast("cpu", dtype=torch.bfloat16):
        return x @ x


def in_one_that_is_kept(x: Any, kept: Any = torch.autocast("cpu", dtype=torch.bfloat16)) -> Any:  # noqa: B008
    with kept:  # not twice: torch does not restore what an inner entry of the same one has changed
        return x @ x


WAYS = pytest.mark.parametrize("way", [decorated, in_a_context, in_one_that_is_kept])


@WAYS
def test_off_inside_and_on_again_afterwards(way: Callable[[Any], Any]) -> None:
    x = torch.ones(2, 2)
    entering = torch.autocast.__enter__
    assert way(x).dtype == torch.bfloat16
    with autocast_off():
        assert way(x).dtype == torch.float32
        with autocast_off():
            assert way(x).dtype == torch.float32
        assert way(x).dtype == torch.float32
    assert way(x).dtype == torch.bfloat16
    assert torch.autocast.__enter__ is entering


def test_off_under_an_outer_one() -> None:
    x = torch.ones(2, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        with autocast_off():
            assert (x @ x).dtype == torch.float32
        assert (x @ x).dtype == torch.bfloat16


def test_on_in_other_threads() -> None:
    found = []
    with autocast_off():
        thread = threading.Thread(target=lambda: found.append(in_a_context(torch.ones(2, 2)).dtype))
        thread.start()
        thread.join()
    assert found == [torch.bfloat16]


def test_on_again_after_an_error() -> None:
    entering = torch.autocast.__enter__
    with pytest.raises(KeyError), autocast_off(), torch.autocast("cpu"):
        raise KeyError
    assert torch.autocast.__enter__ is entering
    assert in_a_context(torch.ones(2, 2)).dtype == torch.bfloat16
