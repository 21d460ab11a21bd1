"""Parity must fail where it should: each kind of wrong output has a test."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import lightning_onnx
from lightning_onnx import Parity, Signature, TensorSpec
from lightning_onnx.checks.base import CheckContext, CheckedFile, CheckedModule, CheckInputs
from lightning_onnx.checks.noise import has_hidden_state
from lightning_onnx.checks.outcomes import summarize
from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.runtimes.onnxruntime import ONNXRuntime
from tests import outside

NAN, INF = float("nan"), float("inf")


class Altered(ONNXRuntime):
    """onnxruntime with changed outputs."""

    def __init__(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
        super().__init__()
        self.change = change

    def load(self, model_path: Path) -> Any:
        session = super().load(model_path)
        original = session.run
        session.run = lambda inputs: self.change(original(inputs))
        return session


def perturbed(reference: Any) -> Any:
    return lambda tensors, seed: reference([t * (1 + 1e-6 * torch.randn_like(t)) for t in tensors])


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> CheckContext:
    module = nn.Linear(4, 3).eval()
    path = tmp_path_factory.mktemp("parity") / "model.onnx"
    torch.onnx.export(
        module,
        (torch.randn(2, 4),),
        str(path),
        dynamo=False,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": {0: "batch"}},
        opset_version=17,
    )
    signature = Signature((TensorSpec("x", "float32", ("batch", 4)),), (TensorSpec("y", "float32", ("batch", 3)),))

    def reference(tensors: Any) -> list[torch.Tensor]:
        with torch.no_grad():
            return [module(*tensors)]

    cases = (Case("traced", (torch.randn(2, 4),), kind="traced"), Case("resized", (torch.randn(5, 4),), kind="resized"))
    return CheckContext(
        file=CheckedFile(path, signature, ONNXRuntime()),
        module=CheckedModule(reference, perturbed(reference)),
        inputs=CheckInputs(cases),
    )


def altered(context: CheckContext, change: Callable[[dict[str, Any]], dict[str, Any]]) -> CheckContext:
    return context.replace(runtime=Altered(change))


def put(value: float) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def change(outputs: dict[str, Any]) -> dict[str, Any]:
        y = outputs["y"].copy()
        y[0, 0] = value
        return {"y": y}

    return change


def test_equal_passes(context: CheckContext) -> None:
    result = Parity()(context)
    assert (result.status, result.reason) == ("passed", None)
    assert result.scalars["parity_passed"] == 1
    assert result.figures["cases"] == ["traced", "resized"]
    assert result.figures["outputs"]["y"]["top1_agreement"] == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda o: {"y": o["y"] + 0.01}, "outside the tolerance"),
        (put(NAN), "NaN or infinity"),
        (put(INF), "NaN or infinity"),
        (lambda o: {}, r"outputs are \[\]"),
        (lambda o: {**o, "z": o["y"]}, r"outputs are \['y', 'z'\]"),
        (lambda o: {"logits": o["y"]}, r"outputs are \['logits'\]"),
        (lambda o: {"y": o["y"].astype(np.float64)}, "dtype is float64"),
        (lambda o: {"y": o["y"][:, :2]}, "shape is"),
        (lambda o: {"y": o["y"].reshape(-1)}, "shape is"),
        (lambda o: 1 / 0, "onnxruntime failed: ZeroDivisionError"),
    ],
)
def test_wrong_output_fails(change: Any, reason: str, context: CheckContext) -> None:
    result = Parity()(altered(context, change))
    assert result.status == "failed"
    assert result.reason is not None
    assert pytest.importorskip("re").search(reason, result.reason)
    assert result.scalars["parity_passed"] == 0


def test_wrong_only_at_an_untraced_size_fails(context: CheckContext) -> None:
    result = Parity()(altered(context, lambda o: {"y": o["y"] * (2 if len(o["y"]) == 5 else 1)}))
    assert result.status == "failed"
    assert result.reason is not None
    assert "resized" in result.reason


def test_no_cases_is_skipped(context: CheckContext) -> None:
    none = context.replace(cases=())
    assert Parity()(none).status == "skipped"


def test_nothing_finite_does_not_pass() -> None:
    expected = np.array([NAN, NAN], np.float32)
    assert Parity().compare_output("y", expected, expected.copy()).problem is not None


def test_constant_output_is_called_a_weak_check(context: CheckContext) -> None:
    zeros = context.replace(
        runtime=Altered(lambda o: {"y": o["y"] * 0}), reference=lambda tensors: [torch.zeros(len(tensors[0]), 3)]
    )
    result = Parity()(zeros)
    assert result.status == "passed"
    assert result.reason is not None
    assert "weak" in result.reason


def test_tolerances_are_checked() -> None:
    with pytest.raises(ValueError, match="rtol=-1"):
        Parity(rtol=-1)
    with pytest.raises(ValueError, match="atol=nan"):
        Parity(atol=NAN)


def test_outputs_that_rest_on_noise_are_skipped_and_not_passed(context: CheckContext) -> None:
    def decides(tensors: Any) -> list[torch.Tensor]:
        (y,) = context.module.reference(tensors)
        return [torch.where((y.double() * 1e9).frac() > 0.5, 1.0, -1.0)]

    noisy = context.replace(
        runtime=Altered(lambda o: {"y": np.sign(o["y"])}), reference=decides, perturbed=perturbed(decides)
    )
    result = Parity()(noisy)
    assert result.status == "skipped"
    assert "noise" in (result.reason or "")


@pytest.mark.parametrize("values", [lambda: itertools.count(1.0), lambda: itertools.cycle([1.0, 2.0, 3.0])])
def test_state_that_cannot_be_put_back_is_called_state(values: Any, context: CheckContext) -> None:
    """Each call takes one of the values, whatever it is called for."""
    taken = values()

    def iterates(tensors: Any) -> list[torch.Tensor]:
        return [context.module.reference(tensors)[0] * next(taken)]

    result = Parity()(context.replace(reference=iterates, perturbed=perturbed(iterates), is_stochastic=False))
    assert result.status != "passed"
    assert "keeps state between calls" in str(result.reason)
    assert "rounding" not in str(result.reason)


def test_a_module_that_ends_keeps_state(context: CheckContext) -> None:
    taken = iter([1.0])

    def iterates(tensors: Any) -> list[torch.Tensor]:
        return [context.module.reference(tensors)[0] * next(taken)]

    case = context.cases[0]
    compare = Parity().compare_output
    first = dataclasses.replace(case, expected=tuple(iterates(case.tensors)))
    assert has_hidden_state(context.replace(reference=iterates), first, compare)
    assert not has_hidden_state(context, case, compare)


def test_an_order_that_one_way_of_rounding_in_several_changes_is_noise(context: CheckContext) -> None:
    """Two nearly equal scores: either one may be first."""

    def swapped(tensors: Any, seed: int) -> list[torch.Tensor]:
        (y,) = context.module.reference(tensors)
        return [y.flip(-1) if seed == 2 else y]

    found = Altered(lambda outputs: {"y": np.flip(outputs["y"], -1)})
    noisy = context.replace(runtime=found, perturbed=swapped)
    result = Parity()(noisy)
    assert (result.status, result.figures["unstable_outputs"]) == ("skipped", ["y"])


def test_a_stable_module_is_not_excused(context: CheckContext) -> None:
    result = Parity()(altered(context, lambda o: {"y": np.sign(o["y"])}))
    assert result.status == "failed"
    assert result.figures["unstable_outputs"] == []


def test_noise_in_one_case_does_not_excuse_another(context: CheckContext) -> None:
    def decides(tensors: Any) -> list[torch.Tensor]:
        (y,) = context.module.reference(tensors)
        return [torch.where((y.double() * 1e9).frac() > 0.5, 1.0, -1.0) if len(y) == 2 else torch.ones_like(y)]

    runtime = Altered(lambda o: {"y": np.sign(o["y"]) if len(o["y"]) == 2 else np.full_like(o["y"], 7)})
    result = Parity()(context.replace(runtime=runtime, reference=decides, perturbed=perturbed(decides)))
    assert result.status == "failed"
    assert "resized" in (result.reason or "")


def test_gross_errors_are_not_noise(context: CheckContext) -> None:
    result = Parity(rtol=0, atol=0)(altered(context, lambda o: {"y": o["y"] * 3}))
    assert result.status == "failed"


def test_rounding_that_the_module_amplifies_passes_and_says_so(context: CheckContext) -> None:
    """Slightly outside the tolerance, but within the module's own rounding, like deep networks."""
    noisy = context.replace(
        runtime=Altered(lambda o: {"y": o["y"] + 2e-4 * abs(o["y"]).max()}),
        perturbed=lambda t, seed: [y + 1e-4 * y.abs().max() for y in context.module.reference(t)],
    )
    result = Parity()(noisy)
    assert result.status == "passed"
    assert "sensitivity" in (result.reason or "")
    steady = context.replace(runtime=noisy.runtime, perturbed=lambda tensors, seed: context.module.reference(tensors))
    assert Parity()(steady).status == "failed"


def test_a_runtime_that_fails_is_not_excused_by_random_outputs(context: CheckContext) -> None:
    def fails(outputs: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("no kernel")

    noisy = altered(context, fails).replace(
        reference=lambda tensors: [torch.randn(len(tensors[0]), 3)], is_stochastic=True
    )
    result = Parity()(noisy)
    assert result.status == "failed"
    assert "no kernel" in (result.reason or "")


@pytest.mark.slow
@pytest.mark.parametrize("draw", [random.random, np.random.random, lambda: torch.rand(1).item()])
def test_numbers_of_numpy_and_python_are_random_too(draw: Any, tmp_path: Path) -> None:
    class Draws(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + draw()

    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    made = lightning_onnx.export(Draws(), torch.zeros(2, 3), directory=tmp_path / "made", engine="torchscript")
    (check,) = made.manifest["checks"]
    assert check["status"] == "skipped"
    assert "draws random numbers" in check["reason"]
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[:2]
    assert torch.equal(torch.get_rng_state(), states[2])


class Masked(nn.Module):
    """Hides elements by a generator of its own, in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.generator = nn.Linear(3, 3), torch.Generator().manual_seed(5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x * (torch.rand(x.shape, generator=self.generator) > 0.3))


@pytest.mark.slow
def test_numbers_of_the_modules_own_generator_are_random_too(tmp_path: Path) -> None:
    module = Masked()
    state = module.generator.get_state()
    made = lightning_onnx.export(module, torch.ones(2, 3), directory=tmp_path / "made")
    (check,) = made.manifest["checks"]
    assert check["status"] == "skipped"
    assert "draws random numbers" in check["reason"]
    (note,) = made.manifest["notes"]
    assert "draws random numbers in eval mode" in note
    assert torch.equal(module.generator.get_state(), state)
    session, feeds = outside.session(made.model_path), {"x": np.ones((5, 3), np.float32)}
    assert not np.array_equal(session.run(None, feeds)[0], session.run(None, feeds)[0])


class TimeAndChance(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x[:, :1] + 1.7e9, x.sigmoid()], 1)


def judged(module: nn.Module, x: torch.Tensor, found: Any) -> Any:
    """Compare a possible output of a file with the module's."""
    flat = FlatModule(module.eval(), "forward", sample_of(module, "forward", ((x,), {})))
    outputs = Signature((TensorSpec("x", "float32", tuple(x.shape)),), (TensorSpec("y", "float32", found.shape),))
    context = CheckContext(
        file=CheckedFile(Path("model.onnx"), outputs, ONNXRuntime()),
        module=CheckedModule(flat.reference, flat.perturbed, is_stochastic=False),
        inputs=CheckInputs(()),
    )
    session: Any = SimpleNamespace(run=lambda feeds: {"y": found})
    return Parity().judge(session, context, Case("observed", (x,), kind="observed"))


def test_wrong_probabilities_next_to_a_time_fail() -> None:
    module, x = TimeAndChance(), torch.randn(3, 4)
    expected = module(x).numpy()
    assert judged(module, x, expected).result == "passed"
    wrong = expected.copy()
    wrong[:, 2] += 0.4
    assert judged(module, x, wrong).result == "failed"


def test_rounding_noise_next_to_a_time_passes() -> None:
    class Rest(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rest = (x / 3 + x / 7) - x * (10 / 21)  # zero except for rounding
            return torch.cat([x + 1.7e9, rest], 1)

    x = torch.randn(16, 1) * 100
    expected = Rest()(x).numpy()
    other = expected.copy()
    other[:, 1] = -expected[::-1, 1]
    assert judged(Rest(), x, other).result in ("passed", "undecidable")
    assert not judged(Rest(), x, other).failures


def test_the_module_is_changed_no_more_often_than_it_takes_to_explain_a_difference(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The logits of a classifier are slices too: one near zero next to large ones is no rare case."""
    ways: list[int] = []
    changed = FlatModule.perturbed

    def counted(flat: FlatModule, tensors: Any, seed: int = 0) -> Any:
        ways.append(seed)
        return changed(flat, tensors, seed)

    monkeypatch.setattr(FlatModule, "perturbed", counted)
    module, x = nn.Linear(64, 1000).eval().requires_grad_(False), torch.randn(1, 64)
    x[:, 1:] *= 100
    module.weight[0] = 0.0
    module.weight[0, 0], module.bias[0] = 1.0, -x[0, 0] + 1e-6  # what is left is rounding
    other = module(x).numpy().copy()
    other[0, 0] = -other[0, 0]
    assert not judged(module, x, other).failures
    assert ways == [0]


class SizeAndPhase(nn.Module):
    """The phases are pi or -pi, depending on the rounding of what cancels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rest = (x / 3 + x / 7) - x * (10 / 21)
        return torch.stack([x.abs(), torch.atan2(rest, -torch.ones_like(x))], 1)


def test_a_slice_of_noise_is_left_out_and_the_others_decide() -> None:
    module, x = SizeAndPhase(), torch.randn(64, generator=torch.Generator().manual_seed(0))
    right = module(x).numpy() * np.array([1, -1], np.float32)
    outcome = judged(module, x, right)
    assert outcome.result == "passed"
    assert "1 of 2 slices along dim 1" in outcome.comparisons[0].left_out
    wrong = right + np.array([0.1, 0], np.float32)
    assert judged(module, x, wrong).result == "failed"


def test_a_part_that_is_noise_is_in_the_reason() -> None:
    module, x = SizeAndPhase(), torch.randn(64, generator=torch.Generator().manual_seed(0))
    right = module(x).numpy() * np.array([1, -1], np.float32)
    outcome = judged(module, x, right)
    context: Any = SimpleNamespace(runtime=ONNXRuntime())
    result = summarize("parity", [outcome], (), context)
    assert (result.status, result.figures["unstable_outputs"]) == ("passed", [])
    assert "a part of y is noise" in str(result.reason)


class Ahead(ONNXRuntime):
    """onnxruntime whose sessions can run ahead, and tell what happened in which order."""

    def __init__(self, happened: list[str]) -> None:
        super().__init__()
        self.happened = happened

    def load(self, model_path: Path) -> Any:
        session = super().load(model_path)

        def begin(inputs: dict[str, Any]) -> Callable[[], dict[str, Any]]:
            number = len(next(iter(inputs.values())))
            self.happened.append(f"file {number} begins")

            def end() -> dict[str, Any]:
                self.happened.append(f"file {number} ends")
                return session.run(inputs)

            return end

        session.begin = begin
        return session


def test_the_file_runs_on_one_case_while_the_module_runs_on_the_next_unless_the_module_refuses_it(
    context: CheckContext,
) -> None:
    happened: list[str] = []

    def reference(tensors: Any) -> list[torch.Tensor]:
        happened.append(f"module {len(tensors[0])}")
        if len(tensors[0]) == 2:
            raise ValueError("refused")
        return context.reference(tensors)

    cases = tuple(Case(f"{n} rows", (torch.randn(n, 4),), kind="values") for n in (1, 2, 3))
    ahead = context.replace(runtime=Ahead(happened), reference=reference, is_stochastic=False, cases=cases)
    outcomes = Parity().judge_each(ahead.session, ahead, cases)
    assert [outcome.result for outcome in outcomes] == ["passed", "undecidable", "passed"]
    assert happened == [
        "module 1",
        "file 1 begins",
        "module 2",
        "file 1 ends",
        "module 3",
        "file 3 begins",
        "file 3 ends",
    ]
