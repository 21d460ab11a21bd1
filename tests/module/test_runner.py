"""Which of the observed calls the module takes."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightning_onnx import export
from lightning_onnx.errors import NotReadyError, SampleError
from lightning_onnx.module.fused import Around
from lightning_onnx.module.runner import first_that_runs
from tests.module.calls.observing import Applies, observed, runner_of


def test_the_same_tensors_run_once() -> None:
    calls = (i for i in itertools.count())  # unlike a list, it is not put back
    module = Applies(lambda x: x * 2 + 0 * next(calls))
    x = torch.randn(2, 3)
    run = runner_of(module, observed(module, (x,)))
    before = next(calls)
    first, again = run([x]), run([x.clone()])
    assert first is again
    assert next(calls) == before + 2
    assert run([x + 1]) is not first


def test_the_same_change_of_the_same_tensors_runs_once() -> None:
    calls = (i for i in itertools.count())
    module = Applies(lambda x: x * 2 + 0 * next(calls))
    x = torch.randn(2, 3)
    run = runner_of(module, observed(module, (x,)))
    before = next(calls)
    first, again, other = run.perturbed([x], 1), run.perturbed([x.clone()], 1), run.perturbed([x], 2)
    assert first is again
    assert next(calls) == before + 3
    assert torch.equal(other[0], run.flat.perturbed([x], 2)[0])


def test_state_between_calls_is_looked_for_once() -> None:
    calls = (i for i in itertools.count())  # unlike a list, it is not put back

    class Counts(nn.Module):
        count = 0

        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return x * self.count + 0 * next(calls)

    module, x = Counts(), torch.ones(2, 3)
    run = runner_of(module, observed(module, (x,)))
    found = run.state_between_calls([x])
    assert ("", "count") in found
    before = next(calls)
    assert run.state_between_calls([x]) == found
    assert next(calls) == before + 1


def test_inputs_that_the_module_does_not_take() -> None:
    module = Applies(lambda x: x.reshape(2, 3))
    run = runner_of(module, observed(module, (torch.randn(2, 3),)))
    wrong = [torch.randn(2, 4)]
    assert run(wrong) is None
    assert isinstance(run.outputs_or_error(wrong), RuntimeError)


def test_the_first_call_that_the_module_takes() -> None:
    x = torch.randn(4, 3)
    refused = observed(Applies(lambda x, y: x), (x, x))
    taken = observed(nn.Linear(3, 2), (x,))
    found, run = first_that_runs(nn.Linear(3, 2), "forward", [refused, taken])
    assert found.samples[0].paths == taken.samples[0].paths
    outputs = run([x])
    assert outputs is not None
    assert outputs.tensors[0].shape == (4, 2)


def test_half_precision_becomes_float32() -> None:
    found, _ = first_that_runs(nn.Identity(), "forward", [observed(nn.Identity(), (torch.zeros(2, dtype=torch.half),))])
    assert found.samples[0].tensors[0].dtype == torch.float32


class Optional(nn.Module):
    def forward(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        return x * 2


class Required(nn.Module):
    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return x * labels


@pytest.mark.parametrize(("module", "inputs"), [(Optional(), [("x",)]), (Required(), [("x",), ("labels",)])])
def test_excluded_inputs_are_left_out_if_the_module_works_without_them(
    module: nn.Module, inputs: list[tuple[str, ...]]
) -> None:
    observation = observed(module, (torch.randn(4, 3), torch.ones(4, 3)))
    found, _ = first_that_runs(module, "forward", [observation], exclude_inputs=["labels"])
    assert list(found.samples[0].paths) == inputs
    assert bool(found.notes) == (len(inputs) == 1)


def test_no_call_that_runs_is_an_error_with_the_reasons() -> None:
    observation = observed(Applies(lambda x: x), (torch.randn(4, 3),))
    with pytest.raises(SampleError, match=r"Linear\.forward ran in eval mode during training.*mat1 and mat2"):
        first_that_runs(nn.Linear(5, 2), "forward", [observation])
    in_training = dataclasses.replace(observation, ran_in_eval_mode=False)
    with pytest.raises(NotReadyError, match=r"Linear\.forward does not run in eval mode.*mat1 and mat2") as caught:
        first_that_runs(nn.Linear(5, 2), "forward", [in_training])
    assert "sample=" not in str(caught.value)  # the call is known
    with pytest.raises(NotReadyError, match=r"sample=\(\.\.\.\)"):
        first_that_runs(nn.Linear(5, 2), "forward", [dataclasses.replace(in_training, is_guess=True)])
    from_a_loader = dataclasses.replace(in_training, is_guess=True, origin="data")
    with pytest.raises(NotReadyError, match="Give a loader with batches that the method takes") as caught:
        first_that_runs(nn.Linear(5, 2), "forward", [from_a_loader])
    assert "sample=" not in str(caught.value)  # the command line has no such option
    with pytest.raises(SampleError, match="nothing was seen"):
        first_that_runs(nn.Linear(5, 2), "forward", [])
    texts = observed(Applies(lambda x: torch.zeros(len(x))), (["a", "bc"],))
    with pytest.raises(SampleError, match="no tensor among the arguments, only str: a graph takes tensors"):
        first_that_runs(nn.Linear(5, 2), "forward", [texts])


def test_export_tells_the_cause_first(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError) as told:
        export(nn.Linear(5, 2), torch.zeros(2, 3), directory=tmp_path / "made")
    assert str(told.value).startswith(
        "Linear.forward fails on the given arguments, input [2, 3]: RuntimeError: mat1 and mat2 shapes cannot be "
        "multiplied (2x3 and 5x2). "
    )
    assert isinstance(told.value.__cause__, RuntimeError)


def test_a_given_sample_that_the_method_does_not_take_is_told_beside_a_call_that_it_took() -> None:
    observation = observed(nn.Linear(5, 2).eval(), (torch.randn(4, 5),))
    given = Around("forward").given(nn.Linear(5, 2), torch.zeros(2, 3), [observation])
    with pytest.raises(
        SampleError, match=r"does not take the given sample, input \[2, 3\] \(RuntimeError: mat1"
    ) as told:
        first_that_runs(nn.Linear(5, 2), "forward", [given])
    assert "In training it got input [4, 5]. Give the arguments of one call" in str(told.value)
    assert "device" not in str(told.value)
