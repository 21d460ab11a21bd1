"""Only differences that rounding causes in the module itself are excused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional

import lightning_onnx
from lightning_onnx import Parity
from lightning_onnx.checks.base import CheckContext, CheckedFile, CheckedModule, CheckInputs
from lightning_onnx.checks.comparison import Comparison, compare_arrays
from lightning_onnx.checks.noise import (
    ChangedRuns,
    ComparedOutput,
    differing_when_redrawn,
    excuse_noise,
    find_random_outputs,
)
from lightning_onnx.module.calls.signature import Signature, TensorSpec
from lightning_onnx.module.cases import Case
from lightning_onnx.module.flat import FURTHER, TIES
from lightning_onnx.runtimes.onnxruntime import ONNXRuntime
from tests.models import Calls

EXPECTED = [torch.ones(10)]
CASE = Case("traced", (torch.zeros(1),), kind="traced")


def context(perturbed: Callable[[int], list[Tensor]]) -> CheckContext:
    signature = Signature((), (TensorSpec("y", "float32", (10,)),))
    return CheckContext(
        file=CheckedFile(Path("model.onnx"), signature, ONNXRuntime()),
        module=CheckedModule(lambda tensors: EXPECTED, lambda tensors, seed: perturbed(seed)),
        inputs=CheckInputs(()),
    )


def difference(size: float) -> Comparison:
    return Comparison("y", "it differs", "values", max_abs_diff=size, max_rel_diff=size, outside=1.0)


def excused(found: Comparison, context: CheckContext, expected: Tensor = EXPECTED[0]) -> Comparison:
    output = ComparedOutput(expected.numpy(), expected.numpy(), found)
    return excuse_noise(output, ChangedRuns(context, CASE), Parity().compare_output)


@pytest.mark.parametrize(
    ("found", "own", "is_excused"),
    [
        (2e-4, 1e-4, True),
        (2e-4, 1e-5, False),  # more than ten times the module's own noise
        (0.5, 0.1, True),
        (0.5, 0.01, False),
        (0.5, 0.0, False),
    ],
)
def test_up_to_ten_times_the_rounding_error_is_noise(found: float, own: float, is_excused: bool) -> None:
    judged = excused(difference(found), context(lambda seed: [EXPECTED[0] + own]))
    assert judged.excuse == ("noise" if is_excused else None)
    assert judged.is_failure != is_excused


def test_a_difference_just_above_the_smallest_that_counts_is_noise_if_the_modules_own_is_just_below() -> None:
    mean = torch.full((10,), 1e-9)  # of values that cancel
    for own, is_noise in ((4e-8, True), (4e-9, False)):
        found = compare_arrays("y", mean.numpy(), (mean + 6.5e-8).numpy())
        assert found.is_failure
        judged = excused(found, context(lambda seed, own=own: [mean + own]), mean)  # type: ignore[misc]
        assert (judged.excuse == "noise" and not judged.is_undecided) == is_noise


def test_a_choice_is_computed_in_more_ways() -> None:
    chosen, other = torch.tensor([2, 1]), torch.tensor([4, 1])  # where two results are equal but for rounding
    found = compare_arrays("y", chosen.numpy(), other.numpy())
    assert excused(found, context(lambda seed: [other if seed == FURTHER[-1] else chosen]), chosen).excuse == "noise"
    assert excused(found, context(lambda seed: [chosen]), chosen).is_failure


def shades(change: int, places: int) -> Tensor:
    image = torch.arange(200, dtype=torch.uint8)
    image[:places] += change
    return image


@pytest.mark.parametrize(
    ("change", "places", "own", "passes"),
    [
        (1, 5, 60, True),
        (1, 100, 60, False),  # cut off instead of rounded
        (2, 5, 60, False),
        (1, 15, 1, False),  # at more places than rounding explains
    ],
)
def test_pixels_may_be_rounded_after_another_step(change: int, places: int, own: int, passes: bool) -> None:
    image = shades(0, 0)
    found = compare_arrays("y", image.numpy(), shades(change, places).numpy())
    judged = excused(found, context(lambda seed: [shades(1, own)]), image)
    assert (judged.excuse == "noise" and not judged.is_undecided) == passes


def test_labels_are_no_pixels() -> None:
    label, other = torch.zeros(200, dtype=torch.uint8), torch.zeros(200, dtype=torch.uint8)
    other[0] = 1
    found = compare_arrays("y", label.numpy(), other.numpy())
    assert excused(found, context(lambda seed: [other]), label).is_undecided


@pytest.mark.slow
def test_an_image_that_the_file_resizes_and_returns_passes(tmp_path: Path) -> None:
    module = Calls(lambda x: functional.interpolate(x, (24, 24), mode="bilinear", antialias=True))
    images = torch.randint(0, 256, (4, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    made = lightning_onnx.export(module, images, directory=tmp_path / "x")
    (parity,) = made.manifest["checks"]
    assert parity["status"] == "passed"
    assert "compared by the module's own sensitivity" in parity["reason"]


def test_one_way_to_round_in_several_is_enough() -> None:
    flips = context(lambda seed: [-EXPECTED[0] if seed == 2 else EXPECTED[0]])
    assert excused(difference(2.0), flips).excuse == "noise"


def test_a_large_difference_needs_as_many_elements() -> None:
    one = EXPECTED[0].clone()
    one[0] = 3.0  # a tenth of the elements
    few = context(lambda seed: [one])
    assert excused(difference(2.0), few).excuse == "noise"
    nearly_none = torch.ones(100)
    nearly_none[0] = 3.0
    fewer = context(lambda seed: [nearly_none])
    assert excused(difference(2.0), fewer, torch.ones(100)).excuse is None


def test_another_shape_is_noise_only_if_rounding_changes_the_shape() -> None:
    shape = Comparison("y", "shape is (9,)", "shape")
    assert excused(shape, context(lambda seed: [torch.ones(8)])).excuse == "noise"
    assert excused(shape, context(lambda seed: EXPECTED)).excuse is None


def test_nan_is_noise_only_where_rounding_changes_the_same_share_of_the_output() -> None:
    """0/0 in one program is 1e-8/1e-8 in another."""
    found = Comparison("y", "NaN or infinity is in different places", "finite", outside=0.5)
    nan = EXPECTED[0].clone()
    nan[:5] = float("nan")
    for own, is_noise in ((nan, True), (-EXPECTED[0], True), (EXPECTED[0], False)):
        judged = excused(found, context(lambda seed, own=own: [own]))  # type: ignore[misc]
        assert (judged.excuse == "noise") == is_noise


def test_a_module_that_does_not_run_otherwise_has_no_noise() -> None:
    def raises(seed: int) -> list[Tensor]:
        raise RuntimeError("no kernel")

    assert excused(difference(0.5), context(raises)).is_failure


@pytest.mark.parametrize("problem", ["dtype is float64", "onnxruntime failed"])
def test_anything_else_is_never_noise(problem: str) -> None:
    def never(seed: int) -> list[Tensor]:
        raise AssertionError("no run can excuse it")

    assert excused(Comparison("y", problem), context(never)).is_failure


def test_right_outputs_need_no_extra_run() -> None:
    def never(seed: int) -> list[Tensor]:
        raise AssertionError("nothing failed")

    assert excused(Comparison("y"), context(never)).excuse is None


@pytest.mark.parametrize("draws", [True, False])
def test_random_outputs_are_found_and_the_state_stays(draws: bool) -> None:
    def reference(tensors: object) -> list[Tensor]:
        return [torch.rand(10) if draws else EXPECTED[0]]

    before = torch.get_rng_state()
    module = CheckedModule(reference, lambda tensors, seed: EXPECTED)
    found = find_random_outputs(context(lambda seed: EXPECTED).replace(reference=module.reference), CASE, EXPECTED)
    assert found == (("y",) if draws else ())
    assert torch.equal(before, torch.get_rng_state())


def test_several_numbers_are_tried_as_a_coin_may_fall_alike() -> None:
    def redrawn(times: int) -> list[Tensor]:
        return [EXPECTED[0] + (times == 7), EXPECTED[0]]

    assert differing_when_redrawn(["coin", "same"], [*EXPECTED, *EXPECTED], redrawn) == ("coin",)


def test_a_module_that_draws_nothing_is_not_run_again() -> None:
    assert find_random_outputs(context(lambda seed: EXPECTED).replace(is_stochastic=False), CASE, EXPECTED) == ()


def test_a_small_part_without_noise_is_wrong_or_undecidable() -> None:
    expected = torch.arange(1.0, 61.0).reshape(20, 3)
    noisy = expected * torch.tensor([1.0, -1.0, -1.0])

    def judged(actual: Tensor, of_ties: Tensor) -> Comparison:
        runs = ChangedRuns(context(lambda seed: [of_ties if seed == TIES else noisy]), CASE)
        arrays = expected.numpy(), actual.numpy()
        return excuse_noise(ComparedOutput(*arrays, compare_arrays("y", *arrays)), runs, Parity().compare_output)

    assert judged(noisy, expected).is_undecided
    assert judged(noisy * 1.1, expected).is_failure
    assert judged(noisy * 1.1, noisy).is_undecided  # ties: the file may have broken them in another way
