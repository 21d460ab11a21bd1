"""Other values at the traced sizes, and inputs that must not be changed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from lightning_onnx.module.calls.request import Request, derive
from lightning_onnx.module.cases import Case
from lightning_onnx.module.runner import Runner
from lightning_onnx.module.values.cases import value_cases, windows
from tests.module.calls.observing import Applies, observed, runner_of


def request_of(function: Any, *calls: tuple[Tensor, ...], **settings: Any) -> tuple[Request, Runner]:
    module = Applies(function)
    for name, value in settings.items():
        setattr(module, name, value)
    observation = observed(module, *calls, batch_sizes=tuple(len(c[0]) for c in calls))
    run = runner_of(module, observation)
    return derive(observation, run), run


def by_label(function: Any, *calls: tuple[Tensor, ...], **settings: Any) -> dict[str, Case]:
    return {case.label: case for case in value_cases(*request_of(function, *calls, **settings))}


X = torch.tensor([[1.5, -2.0], [3.0, 4.0], [-5.0, 6.5], [7.0, 8.0], [9.0, 10.0]])


def test_a_module_whose_calls_are_expensive_is_tried_on_a_few(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = list(by_label(lambda x: x @ x.mT, (X,)))
    monkeypatch.setattr("lightning_onnx.module.cost._FLOPS_OF_ALL", 1)
    few = list(by_label(lambda x: x @ x.mT, (X,)))
    assert len(everything) > len(few) == 4
    assert (few[0], few[-1]) == (everything[0], everything[-1])


def test_each_kind_for_one_input_of_floats() -> None:
    cases = by_label(lambda x: x * 2, (X,))
    first = {label: case.tensors[0].tolist() for label, case in cases.items()}
    assert first["the last rows of call 1"] == X[3:].tolist()
    assert first["rolled rows"] == X[1:3].tolist()
    assert first["all rows equal"] == X[[0, 0]].tolist()
    assert first["one row of zeros"] == [[0, 0], X[1].tolist()]
    assert first["all floats zero"] == [[0, 0], [0, 0]]
    assert first["mirrored sign"] == (-X[:2]).tolist()
    assert first["30 times as large"] == (30 * X[:2]).tolist()
    assert {label for label, case in cases.items() if case.beyond} == {"mirrored sign", "30 times as large"}
    for case in cases.values():
        assert case.kind == "values"
        assert case.expected is not None
        assert torch.equal(case.expected[0], case.tensors[0] * 2)


def test_values_at_and_near_the_numbers_of_the_module() -> None:
    cases = by_label(lambda x: x * 2, (X,), threshold=2.0, far=100.0)
    near = {label: case for label, case in cases.items() if "of the module" in label or "beside" in label}
    found = {label: (set(case.tensors[0].flatten().tolist()), case.beyond) for label, case in near.items()}
    below, above = (float(torch.tensor(2.0 * (1 + side * 1e-3))) for side in (-1, 1))
    assert found["numbers of the module in the observed range"] == ({2.0}, False)
    assert found["just beside numbers of the module in the observed range"] == ({below, above}, False)
    assert found["numbers of the module beyond the observed range"][1]


def test_refused_and_traced_values_are_not_cases() -> None:
    def needs_positive(x: Tensor) -> Tensor:
        if (x <= 0).any():
            raise ValueError("not positive")
        return x * 2

    cases = by_label(needs_positive, (X.abs(),))
    assert "mirrored sign" not in cases
    assert "all floats zero" not in cases
    assert "30 times as large" in cases
    equal = by_label(lambda x: x * 2, (torch.ones(4, 3),))
    assert "rolled rows" not in equal


def test_integers_at_the_ends_of_all_observed_calls() -> None:
    calls = [(torch.tensor([[4, 9, 5], [7, 4, 8], [4, 12, 6]]),), (torch.tensor([[5, 3, 6], [7, 8, 6]]),)]
    cases = by_label(lambda i: i * 2, *calls)
    assert cases["integers at their smallest"].tensors[0].unique().tolist() == [3]
    assert cases["integers at their largest"].tensors[0].unique().tolist() == [12]


def test_integers_and_masks() -> None:
    ids = torch.tensor([[4, 9, 5], [7, 4, 8], [4, 4, 4]])
    mask = torch.tensor([[True, False, True]] * 3)
    padding = torch.tensor([[1, 0, 1]] * 3)
    cases = by_label(lambda i, m, p: i * m * p, (ids, mask, padding))
    assert cases["integers at their smallest"].tensors[0].unique().tolist() == [4]
    assert cases["integers at their largest"].tensors[0].unique().tolist() == [9]
    for label, value in (("masks all true", 1), ("masks all false", 0)):
        tensors = cases[label].tensors
        assert tensors[0].unique().numel() > 1
        assert [t.unique().tolist() for t in tensors[1:]] == [[value], [value]]
    assert not any(case.beyond for case in cases.values())
    assert "mirrored sign" not in cases


def test_images_of_bytes_and_numbers_in_order_stay() -> None:
    image = torch.arange(36, dtype=torch.uint8).reshape(3, 12)
    offsets = torch.tensor([0, 2, 5])
    for case in value_cases(*request_of(lambda i, o: i.float().sum(1) + o.sum(), (image, offsets))):
        assert torch.isin(case.tensors[0], image).all()
        assert (case.tensors[1].diff() >= 0).all()


def test_floats_that_are_indices_of_another_input_stay_in_range() -> None:
    images = torch.randn(4, 3, 8, 8)
    regions = torch.tensor([[0.0, 1.5, 2.5, 3.5, 4.5], [3.0, 1.25, 2.25, 3.25, 5.5]])

    def pooled(images: Tensor, regions: Tensor) -> Tensor:
        index = regions[:, 0].long()
        assert ((index >= 0) & (index < len(images))).all(), "not every kernel checks"
        return images[index] * regions[:, 1, None, None, None]

    cases = by_label(pooled, (images, regions), anything=77.0)
    for case in cases.values():
        assert torch.isin(case.tensors[1][:, 0], torch.tensor([0.0, 3.0])).all()
    mirrored = cases["mirrored sign"].tensors
    assert torch.equal(mirrored[1][:, 1:], -regions[:, 1:])
    assert torch.equal(mirrored[0], -images)


def test_without_a_batch_all_inputs_change_as_a_whole() -> None:
    cases = by_label(lambda x: x.reshape(5, 2) * 2, (X,))
    assert "rolled rows" not in cases
    assert "mirrored sign" in cases


def test_all_rows_of_a_call_at_the_traced_sizes() -> None:
    request, _ = request_of(lambda x: x * 2, (X,))
    found = [tensors[0].tolist() for tensors in windows(request, (X,))]
    assert found == [X[:2].tolist(), X[2:4].tolist(), X[3:].tolist()]


def test_a_call_of_another_static_size_gives_no_rows() -> None:
    request, run = request_of(lambda x: x * 2, (X,), (torch.randn(3, 4),))
    labels = [case.label for case in value_cases(request.static(["tensors_0_dim_1"]), run)]
    assert "the last rows of call 1" in labels
    assert "the last rows of call 2" not in labels


def test_a_call_whose_offsets_look_like_groups_has_no_last_rows() -> None:
    """Offsets such as 0, 0, 1 cannot be told from numbers of groups; the other call's rows are tried nevertheless."""
    module = Applies(lambda ids, offsets: functional.embedding_bag(ids, torch.eye(9), offsets, mode="sum"))
    calls = ((torch.arange(9), torch.tensor([0, 2, 5, 7])), (torch.arange(3), torch.tensor([0, 0, 1, 2])))
    observation = observed(module, *calls, batch_sizes=(4, 4))
    run = runner_of(module, observation)
    labels = [case.label for case in value_cases(derive(observation, run), run)]
    assert "all rows equal" in labels
    assert "the last rows of call 2" not in labels
