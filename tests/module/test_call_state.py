"""Everything that calls change on a module is restored."""

from __future__ import annotations

import collections
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lightning_onnx import ONNXExport, export
from lightning_onnx.module.call_state import CallState


class Leaves(nn.Module):
    """Leaves state of one kind with each call, and returns it."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.number = 0
        self.tensor = torch.zeros(2)
        self.register_buffer("buffer", torch.zeros(2))
        self.items: list[Any] = [{"inner": []}]
        self.queue: collections.deque[Any] = collections.deque([1], maxlen=2)
        self.space = types.SimpleNamespace(hidden=None)
        self.child = nn.Identity()

    def forward(self, x: Any) -> Any:
        if self.kind == "number":
            self.number += 1
            return x + self.number
        if self.kind == "tensor":
            self.tensor.add_(1)
            return x + self.tensor
        if self.kind == "buffer":
            self.buffer += 1
            return x + self.buffer
        if self.kind == "assigned buffer":
            self.buffer = self.buffer + 1
            return x + self.buffer
        if self.kind == "items":
            self.items[0]["inner"].append(1)
            return x + len(self.items[0]["inner"])
        if self.kind == "queue":
            self.queue.append(self.queue[-1] + 1)
            return x + self.queue[-1]
        if self.kind == "space":
            self.space.hidden = x if self.space.hidden is None else self.space.hidden + x
            return self.space.hidden
        if self.kind == "new":
            self.new = getattr(self, "new", 0) + 1
            return x + self.new
        self.child.count = getattr(self.child, "count", 0) + 1
        return x + self.child.count


KINDS = ["number", "tensor", "buffer", "assigned buffer", "items", "queue", "space", "new", "child"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_call_starts_from_the_same_state(kind: str) -> None:
    module = Leaves(kind).eval()
    state = CallState(module)
    x = torch.ones(3, 2)
    for _ in range(2):
        with state.kept():
            first = module(x).clone()
        with state.kept():
            torch.testing.assert_close(module(x), first)
    assert not torch.equal(module(x), module(x))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["number", "buffer", "items", "space"])
def test_a_right_file_passes_and_the_state_is_reported(kind: str, tmp_path: Path) -> None:
    artifact = export(Leaves(kind).eval(), torch.ones(3, 2), directory=tmp_path / "a")
    assert artifact.passed
    (check,) = artifact.record.checks
    assert "keeps state between calls" in str(check.reason)
    assert any("keeps state between calls" in note for note in artifact.record.notes)


def test_state_from_an_earlier_call_is_in_the_graph_and_reported(tmp_path: Path) -> None:
    module = Leaves("number").eval()
    module(torch.ones(3, 2))
    artifact = export(module, torch.ones(3, 2), directory=tmp_path / "a")
    assert artifact.passed
    assert module.number == 1
    (note,) = (note for note in artifact.record.notes if "keeps state between calls (number)" in note)
    assert "the state that the module had when it was traced" in note


def test_a_module_that_only_stores_its_output_keeps_no_state(tmp_path: Path) -> None:
    class Remembers(nn.Linear):
        def forward(self, input: Any) -> Any:
            self.last = super().forward(input)
            return self.last

    artifact = export(Remembers(2, 2).eval(), torch.ones(3, 2), directory=tmp_path / "a")
    assert artifact.passed
    assert artifact.record.checks[0].reason is None


class Link:
    """One of a chain of objects."""

    def __init__(self, next: Link | None) -> None:
        self.next, self.value = next, 0


def test_a_chain_longer_than_the_stack_is_restored() -> None:
    module = nn.Identity()
    module.last = last = Link(None)
    module.first = last
    for _ in range(3000):
        module.first = Link(module.first)
    state = CallState(module)
    with state.kept():
        last.value = 1
    assert last.value == 0
    assert ("", "first") in state.written or ("", "last") in state.written


def test_a_callback_that_the_module_holds_is_not_its_state() -> None:
    module, callback = nn.Identity(), ONNXExport()
    module.trainer_options = {"callbacks": [callback]}
    state = CallState(module)
    with state.kept():
        callback.dirpath = "elsewhere"
    assert callback.dirpath == "elsewhere"
    assert not state.written


class Unsized(tuple):
    """A container of the user's that has items and no length."""

    def __len__(self) -> int:
        raise NotImplementedError


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factors, self.groups = Unsized((1.0, 2.0)), [Unsized((3.0,))]

    def forward(self, x):
        return x * [*iter(self.factors)][1] + next(iter(self.groups[0]))


def test_a_module_that_holds_a_container_without_a_length(tmp_path: Path) -> None:
    artifact = export(Scaled(), torch.randn(2, 3), directory=tmp_path / "artifact")
    assert artifact.proven
