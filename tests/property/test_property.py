"""Random modules: no file that passed is wrong, and the judge finds wrong files."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from tests import outside
from tests.property import run
from tests.property.judge import Limits, Rounds, compare, judge
from tests.property.program import INPUTS, Line, Program, generate, make_inputs, runs
from tests.property.shrink import shrink
from tests.property.steps.base import CHOICES, Step
from tests.property.steps.table import TABLE
from tests.property.verdict import Verdict, verdict_of
from tests.tracing.making import as_torch_writes

NOWHERE = Limits({}, {}, {})


KNOWN: dict[int, str] = {}
"""Known faults, by seed."""


def _seed(seed: int) -> object:
    return pytest.param(seed, marks=pytest.mark.xfail(reason=KNOWN[seed])) if seed in KNOWN else seed


@pytest.mark.slow
@pytest.mark.parametrize("seed", map(_seed, range(40)))  # make nightly: 1,000
def test_a_file_that_passed_is_right(seed: int) -> None:
    program = generate(seed)
    verdict = verdict_of(program)
    assert verdict.kind in ("right", "refused", "decides"), f"{verdict}\n{program}"


def test_a_module_is_a_function_of_its_seed() -> None:
    assert [generate(seed).source for seed in range(20)] == [generate(seed).source for seed in range(20)]
    first, second = generate(3).module(), generate(3).module()
    assert all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


def test_seeds_make_all_kinds_of_inputs() -> None:
    assert {generate(seed).takes for seed in range(60)} == set(INPUTS)


def _alone(step: Step) -> Program:
    """Return a module of one step, with the first of each choice."""
    takes = next(k for k, kind in INPUTS.items() if kind in step.takes) if step.takes[0] != "steps" else "sequence"
    takes = "masked sequence" if step.uses_mask else takes
    program = next(p for p in map(generate, range(200)) if p.takes == takes)
    words = {w: choices[0] for w, choices in CHOICES.items()}
    return dataclasses.replace(program, lines=(Line(step, words, 0),), end="return x")


@pytest.mark.parametrize("step", TABLE, ids=lambda s: s.forward.splitlines()[-1][:60])
def test_each_step_runs(step: Step) -> None:
    assert runs(_alone(step))


def _exported(module: nn.Module, program: Program, path: Path) -> None:
    """Export with only torch."""
    inputs = make_inputs(program.takes, program.observed[0], "normal", 0)
    dims = {0: torch.export.Dim("batch")}
    with warnings.catch_warnings(), contextlib.redirect_stdout(None):
        warnings.simplefilter("ignore")
        as_torch_writes(module.eval(), *inputs, dynamic_shapes=(dims,)).save(path)


def _program(*forwards: str) -> Program:
    lines = tuple(Line(Step(("rows",), forward), {}, i) for i, forward in enumerate(forwards))
    return Program(1, "rows", lines, "return x", ({"batch": 4}, {"batch": 4}, {"batch": 3}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("in_file", "module", "values"),
    [
        ("x = x * 2", "x = x * 2", None),
        ("x = x * 2.02", "x = x * 2", "normal"),
        ("x = x / x.norm(dim=-1, keepdim=True)", "x = x / (x.norm(dim=-1, keepdim=True) + 1e-12)", "zeros"),
        ("x = x.clamp(max=6.0)", "x = x", "times 30"),
        ("x = x * 2", "x = x * 2 if x.shape[0] <= 8 else x * 3", "normal"),
        ("x = x.argsort(-1).float()", "x = x.argsort(-1, descending=True).flip(-1).float()", None),
    ],
)
def test_the_judge_finds_exactly_the_errors(in_file: str, module: str, values: str | None, tmp_path: Path) -> None:
    path, program = tmp_path / "model.onnx", _program(module)
    _exported(_program(in_file).module(), program, path)
    wrong = judge(program, program.module().eval(), path, NOWHERE)
    assert (values in {w.values for w in wrong}) if values else not wrong


@pytest.mark.slow
def test_sizes_outside_the_reported_range_are_ignored(tmp_path: Path) -> None:
    path, program = tmp_path / "model.onnx", _program("x = x * 2 if x.shape[0] <= 8 else x * 3")
    _exported(_program("x = x * 2").module(), program, path)
    (dim,) = {d for d in outside.session(path).get_inputs()[0].shape if isinstance(d, str)}
    told = {"ranges": {dim: {"min": 1, "max": 8}}, "relations": [], "notes": []}
    assert not judge(program, program.module(), path, Limits.of(told))


@pytest.mark.slow
def test_ties_and_rounding_are_ignored(tmp_path: Path) -> None:
    path, program = tmp_path / "model.onnx", _program("x = (x * 1e6).sin()")
    _exported(_program("x = (x * 1.0000005 * 1e6).sin()").module(), program, path)
    inputs = make_inputs("rows", {"batch": 3}, "normal", 5)
    assert compare(outside.session(path), program.module(), inputs) is None


@pytest.mark.slow
def test_documented_limits_of_the_runtime_are_ignored(tmp_path: Path) -> None:
    path, program = tmp_path / "model.onnx", _program("x = (x.sigmoid() * -1).floor()")
    _exported(program.module(), program, path)
    inputs = (torch.full((3, 6), -30.0),)
    assert program.module()(*inputs)[0, 0] == -1
    assert outside.session(path).run(None, {"x": inputs[0].numpy()})[0][0, 0] == 0
    assert compare(outside.session(path), program.module(), inputs) is None


def test_the_judge_knows_that_limit_in_recurrent_layers() -> None:
    """The gates of a recurrent layer are sigmoids: its result can be 0 where torch gives a tiny number."""
    layer, x = nn.GRU(1, 1), torch.zeros(1, 1, 1)
    for parameter in layer.parameters():
        nn.init.constant_(parameter, 0.0)
    nn.init.constant_(layer.bias_ih_l0, 1e-9)
    with torch.no_grad():
        assert 0 < layer(x)[0].item() < 1e-8
        with Rounds(1):
            assert layer(x)[0].item() == 0


@pytest.mark.slow
def test_ties_caused_by_rounding_are_ignored(tmp_path: Path) -> None:
    """The spectrum of real numbers is symmetric: which of two equal values is the larger one is noise."""
    spectrum = "x = torch.fft.fft(x.round().to(torch.int64).float(), dim=-1).real"
    path, program = tmp_path / "model.onnx", _program(spectrum, "x = x.argmax(-1).float()")
    _exported(_program(spectrum, "x = x[:, [0, 5, 4, 3, 2, 1]]", "x = x.argmax(-1).float()").module(), program, path)
    assert not judge(program, program.module(), path, NOWHERE)


def test_the_judge_breaks_ties() -> None:
    with Rounds(1):
        chosen = {tuple(torch.zeros(6).topk(4).indices.tolist()) for _ in range(5)}
    assert len(chosen) > 1


def test_a_failing_module_is_shrunk_to_the_step() -> None:
    program = dataclasses.replace(
        _program("x = x + 1", "x = x.sin()", "x = x * 2", "x = x.exp()"), end="return x, x.mean()"
    )
    smaller = shrink(program, lambda p: "sin" in p.source)
    assert [line.step.forward for line in smaller.lines] == ["x = x.sin()"]
    assert smaller.end == "return x"


def test_a_run_is_kept_and_summed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = {0: "right", 1: "false pass"}
    asked: list[int] = []

    def judged(program: Program) -> Verdict:
        asked.append(program.seed)
        return Verdict(kinds[program.seed])  # type: ignore[arg-type]

    monkeypatch.setattr(run, "verdict_of", judged)
    arguments = ["--results", str(tmp_path), "--no-shrink", "--jobs", "0"]
    assert run.main(["--seeds", "0:1", *arguments]) == 0
    assert run.main(["--seeds", "0:2", *arguments]) == 1
    assert asked == [0, 1]
    assert json.loads((tmp_path / "1.json").read_text())["kind"] == "false pass"
    assert "1 false pass, 1 right" in capsys.readouterr().out
