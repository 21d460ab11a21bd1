"""The search for a graph that is right at all its sizes."""

from __future__ import annotations

import ctypes
import dataclasses
import itertools
import struct
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import EngineError, Parity, ParityError
from lightning_onnx.checks.comparison import Comparison
from lightning_onnx.errors import SearchTooLong
from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.runner import Runner
from lightning_onnx.module.weights.copying import private_copy
from lightning_onnx.pipeline import search as searching
from lightning_onnx.pipeline.candidate import Candidate, try_engine
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.decisions import KeptDecisions
from lightning_onnx.pipeline.plan import Plan
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.pipeline.search import find_graph
from lightning_onnx.pipeline.search_limit import ENDED, SearchLimit
from lightning_onnx.pipeline.traced_file import Mismatch
from lightning_onnx.tracing.refusals import Refusals
from lightning_onnx.tracing.torchscript import TorchScriptEngine
from tests import outside
from tests.tracing.making import made


@pytest.mark.slow
def test_a_dim_that_varied_and_that_the_code_makes_constant_becomes_static_with_a_note(fit: Any) -> None:
    from tests import models

    class Module(models.Tokens):
        def forward(self, ids: Any, mask: Any = None) -> Any:
            return super().forward(ids, mask).logits * list(range(20))[int(ids.shape[1])]

        def call(self, batch: Any) -> Any:
            return self(batch["ids"], mask=batch["mask"])

    callback = lightning_onnx.ONNXExport()
    fit(Module(), callback)
    assert callback.artifact is not None
    assert outside.shapes(callback.artifact.model_path)["ids"] == ["batch", 5]
    assert any("'ids'" in n and "is static" in n for n in callback.artifact.manifest["notes"])


class ReadsMemory(nn.Module):
    """Decides by a value that leaves its tensor unseen."""

    def forward(self, x: Tensor) -> Tensor:
        values = struct.unpack(f"{x.numel()}f", ctypes.string_at(x.data_ptr(), 4 * x.numel()))
        return x * 2 if max(values) < 9 else x * 3


@pytest.mark.slow
def test_a_size_is_not_blamed_for_what_the_values_of_some_rows_cause(tmp_path: Path) -> None:
    x = torch.rand(8, 4)
    x[4, 1] = 9.5
    with pytest.raises(ParityError, match=r"rows of observed \(batch=8\)"):
        lightning_onnx.export(ReadsMemory(), x, directory=tmp_path / "made")


class Bent(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


@pytest.mark.slow
def test_a_small_difference_is_left_to_the_check_of_the_trained_weights(tmp_path: Path) -> None:
    from onnxscript import opset20 as op

    def bent(x: Any) -> Any:
        return op.Mul(op.Tanh(x), op.CastLike(op.Constant(value_float=1.0005), x))

    options: dict[str, Any] = {
        "engine": "dynamo",
        "export_options": {"custom_translation_table": {torch.ops.aten.tanh.default: bent}},
    }
    made = lightning_onnx.export(Bent(), torch.randn(2, 3), directory=tmp_path / "made", **options)
    assert any("differ slightly" in note for note in made.manifest["notes"])
    assert not made.passed
    with pytest.raises(ParityError):
        lightning_onnx.export(
            Bent(), torch.randn(2, 3), directory=tmp_path / "other", checks=[Parity(rtol=1e-4)], **options
        )


class Enlarges(nn.Module):
    """Enlarges each image with its own kernel, as a group: the number of groups is an attribute of the operator."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(1, 2, 2, 2))

    def forward(self, x: Tensor) -> Tensor:
        batch = x.shape[0]
        kernels = (self.kernel * x.mean((1, 2, 3)).reshape(-1, 1, 1, 1)).reshape(batch, 2, 2, 2)
        rows = nn.functional.conv_transpose2d(x.reshape(1, batch, 4, 4), kernels, stride=2, groups=batch)
        return rows.reshape(batch, 2, 8, 8)


@pytest.mark.slow
def test_a_dim_that_no_engine_can_keep_dynamic_is_static(tmp_path: Path) -> None:
    module = Enlarges()
    made = lightning_onnx.export(module, torch.randn(2, 1, 4, 4), directory=tmp_path / "made", engine="dynamo")
    assert outside.shapes(made.model_path)["x"] == [2, 1, 4, 4]
    assert made.passed
    assert any("dim 0 of input 'x' (batch) is static: no engine translates" in note for note in made.manifest["notes"])
    with pytest.raises(EngineError):
        lightning_onnx.export(
            module,
            torch.randn(2, 1, 4, 4),
            directory=tmp_path / "asked",
            dynamic_axes={"x": {0: "batch"}},
            engine="dynamo",
        )


class AtMostEight(nn.Module):
    """Works up to a length of eight, and is refused without a branch that depends on values."""

    def __init__(self, guards: bool) -> None:
        super().__init__()
        self.net, self.guards = nn.Linear(1, 4), guards

    def forward(self, x: Tensor) -> Tensor:
        if self.guards and x.isnan().any():
            raise ValueError("NaN")
        y = self.net(x.unsqueeze(-1))
        return y.relu() if x.shape[1] <= 8 else y.tanh()


def found_in(seconds: float, module: nn.Module, axes: Any = "auto") -> Plan:
    """Search with a clock: the first trace takes a second, and so many have gone by at every later look."""
    limit = SearchLimit(itertools.chain([0.0, 1.0, 2.0], itertools.repeat(seconds)).__next__)
    sample = sample_of(module, "forward", ((torch.randn(2, 5),), {}))
    config = ExportConfig(dynamic_axes=axes, engine="dynamo")
    seen = Observation.of(sample, "x")
    seen = dataclasses.replace(seen, shapes=(*seen.shapes, (((3, 7),), None)))
    return prepare(private_copy(module), [seen], config, limit=limit)


@pytest.mark.slow
def test_a_search_that_takes_too_long_ends_with_what_it_has(recwarn: pytest.WarningsRecorder) -> None:
    in_time = found_in(60.0, AtMostEight(guards=False))
    assert isinstance(in_time.graph.signature.inputs[0].shape[1], str)
    assert ENDED not in in_time.notes
    recwarn.clear()
    late = found_in(63.0, AtMostEight(guards=False))
    assert [spec.shape for spec in late.graph.signature.inputs] == [("batch", 5)]
    assert ENDED in late.notes
    assert "preflight has taken 60 s" in str(recwarn.pop().message)
    with pytest.raises(EngineError, match="time"):  # asked for, and not found in time
        found_in(63.0, AtMostEight(guards=False), {"x": {0: "batch", 1: "time"}})


@pytest.mark.slow
def test_a_search_without_a_graph_in_its_time_is_left_to_the_end() -> None:
    with pytest.raises(SearchTooLong, match="AtMostEight has no graph yet"):
        found_in(63.0, AtMostEight(guards=True))


class ChangesSign(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else -x


@pytest.mark.slow
def test_where_one_wrong_case_is_enough_the_others_are_not_compared() -> None:
    flat, request = made(ChangesSign(), torch.ones(2, 3))
    every, first = (
        try_engine(TorchScriptEngine(), Runner(flat), request, ExportConfig(), until_wrong=until_wrong)
        for until_wrong in (False, True)
    )
    assert len(every.mismatches) > 1
    assert [mismatch.case.label for mismatch in first.mismatches] == [every.mismatches[0].case.label]
    assert first.wrong_as_traced is not None


class Unrolled(nn.Module):
    """A loop of Python, which engines unroll."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x[:, step] * step for step in range(x.shape[1])], 1)


class CountsSteps(Runner):
    """Keeps the number of steps of each call with changes by rounding, which are slow."""

    def __init__(self, flat: FlatModule) -> None:
        super().__init__(flat)
        self.steps: list[int] = []

    def perturbed(self, tensors: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
        self.steps.append(tensors[0].shape[1])
        return super().perturbed(tensors, seed)


def test_many_steps_of_a_loop_that_is_unrolled_are_not_compared() -> None:
    flat, request = made(Unrolled(), torch.ones(2, 5), axes=({0: "batch", 1: "steps"},))
    candidate = try_engine(TorchScriptEngine(), run := CountsSteps(flat), request, ExportConfig())
    assert set(candidate.wrong) == {"steps"}
    assert 5 < max(run.steps) < 20


def test_the_longest_trace_limits_a_search() -> None:
    times = iter([0.0, 1.0, 1.2, 2.0, 32.0, 500.0, 700.0])
    limit = SearchLimit(times.__next__)
    for _ in ("a refusal", "a trace"):
        with limit.of_trace():
            pass
    assert not limit.is_over()
    with pytest.warns(UserWarning, match="preflight has taken 600 s"):
        assert limit.is_over()


class Steps(nn.Module):
    """Halves until it is small."""

    def forward(self, x: Tensor) -> Tensor:
        while x.abs().max() > 1:
            x = x / 2
        return x


class Engines:
    """Replaces the engines of a search: a function says which graph an engine has for a request."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: nn.Module, *tensors: Tensor, **options: Any) -> None:
        flat, self.request = made(module, *tensors, **options)
        self.run, self.now, self.asked = Runner(flat), 0.0, list[str]()
        self.limit = SearchLimit(lambda: self.now)
        self.traced = Case("traced", self.request.tensors, kind="traced")
        self.tries: Any = None
        engines = [SimpleNamespace(name=name, follows_values=True, needs_refusal=False) for name in ("first", "second")]
        monkeypatch.setattr(searching, "order", lambda *_, **__: engines)
        monkeypatch.setattr(searching, "try_engine", self.try_engine)
        monkeypatch.setattr(searching, "widest", lambda found, *_: found)
        monkeypatch.setattr(searching, "decides_by_sizes", lambda _: False)
        monkeypatch.setattr(searching, "limits_of_module", lambda *_: {})

    def try_engine(self, engine: Any, run: Runner, request: Any, config: ExportConfig, **_: Any) -> Candidate:
        self.asked.append(engine.name)
        with self.limit.of_trace():
            self.now += 1.0
        return self.tries(engine, request)

    def candidate(self, engine: Any, request: Any, wrong: Any = None, **options: Any) -> Candidate:
        graph: Any = SimpleNamespace(request=request, traced=SimpleNamespace(kept=()))
        graph.limited = lambda ranges: graph
        mismatches = () if wrong is None else (Mismatch(wrong, Comparison("y", problem="differs")),)
        first = next(iter(mismatches), None)
        options = {"decisions": KeptDecisions()} | options
        return Candidate(engine, graph, (self.traced,), (), {}, {}, first, None, None, mismatches, **options)

    def found(self) -> Any:
        return find_graph(self.run, self.request, ExportConfig(), Refusals(), self.limit)


def test_a_graph_that_is_found_in_time_is_kept_while_others_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = Engines(monkeypatch, Bent(), torch.randn(2, 3), axes=({0: "batch", 1: "time"},))

    def tries(engine: Any, request: Any) -> Candidate:
        if not request.dims:
            return engines.candidate(engine, request)
        engines.now += 100.0 if len(request.dims) == 1 else 0.0
        raise EngineError("refused")

    engines.tries = tries
    with pytest.warns(UserWarning, match="takes the best graph"):
        found = engines.found()
    assert found.graph.request.dims == ()
    assert ENDED in found.notes


@pytest.mark.parametrize("refused", ["time", "batch"])
def test_a_dim_is_static_that_one_engine_refuses_and_another_gets_wrong(
    refused: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = Engines(monkeypatch, Bent(), torch.randn(2, 3), axes=({0: "batch", 1: "time"},))

    def tries(engine: Any, request: Any) -> Candidate:
        if engine.name == "second":
            return engines.candidate(engine, request, engines.traced)
        if refused in request.dims:
            raise EngineError("no form")
        return engines.candidate(engine, request)

    engines.tries = tries
    found = engines.found()
    assert found.graph.request.dims == tuple({"batch", "time"} - {refused})
    (note,) = found.notes
    assert f"({refused}) is static: no engine translates the module otherwise (EngineError: no form)" in note


@pytest.mark.parametrize("is_translated", [True, False])
def test_other_engines_are_asked_if_the_loop_is_not_the_cause(
    is_translated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines = Engines(monkeypatch, Steps(), torch.full((2, 3), 3.0), axes=({},))
    more = Case("more steps", (torch.full((2, 3), 9.0),), kind="values")
    decisions = KeptDecisions(loops=("test_search.py:1",))

    def tries(engine: Any, request: Any) -> Candidate:
        if engine.name == "second":
            return engines.candidate(engine, request)
        return engines.candidate(engine, request, more if is_translated else engines.traced, decisions=decisions)

    engines.tries = tries
    if is_translated:
        monkeypatch.setattr(searching.search_notes, "wrong_as_traced", lambda *_: ParityError("keeps the steps"))
        with pytest.raises(ParityError, match="keeps the steps"):
            engines.found()
        assert engines.asked == ["first"]
    else:
        assert engines.found().graph.request is engines.request
        assert engines.asked == ["first", "second"]
