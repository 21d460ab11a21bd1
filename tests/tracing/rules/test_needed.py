"""Each rule of the table is right in onnxruntime at a size that was not traced, and is needed."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from lightning_onnx.tracing.rules import table
from lightning_onnx.tracing.rules.base import Rule
from tests.tracing.making import as_torch_writes
from tests.tracing.rules.cases import CASES, Case, name_of

SMALL = ("elementwise log1p", "elementwise expm1", "elementwise special_xlog1py", "special erfc")
"""Whose results are small numbers."""

SPARE = (
    # the translation of scalar_tensor in size_arithmetic keeps the precision already, and Pow never lost it
    *(f"double {op}.Tensor" for op in ("add", "sub", "mul", "div")),
    *(f"double {op}.Scalar" for op in ("gt", "ge", "lt", "le", "rsub", "lerp")),
    "double pow.Tensor_Scalar",
    "booleans_integers mul.Tensor",  # the exporter writes And
    "indexing im2col",  # the exporter writes the windows of a free size
    "resizing _upsample_nearest_exact1d.vec",  # the translations of size_arithmetic give the right size
)
"""Rules whose cases pass without them in torch 2.14; it is unknown whether older versions need them."""

RULES = {name_of(rule): rule for rule in table.RULES}
TOPICS = [topic for topic, _ in itertools.groupby(table.RULES, lambda rule: name_of(rule).partition(" ")[0])]

NEEDED = pytest.mark.xfail(strict=True, reason="the exporter or onnxruntime needs the rule")


class Calls(nn.Module):
    """Calls the function of each case with its own tensors."""

    def __init__(self, cases: Mapping[str, Case]) -> None:
        super().__init__()
        self.cases = tuple(cases.values())

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        left = iter(tensors)
        return [case.function(*itertools.islice(left, len(case.inputs))) for case in self.cases]


def captured(cases: Mapping[str, Case]) -> torch.export.ExportedProgram:
    """Capture the calls of some cases with the traced tensors."""
    traced = tuple(t for case in cases.values() for t in case.traced_inputs())
    free = tuple(
        {d: torch.export.Dim.AUTO for d, (a, b) in enumerate(zip(t.shape, other.shape, strict=True)) if a != b}
        for t, other in zip(traced, inputs_of(cases), strict=True)
    )
    return torch.export.export(Calls(cases), traced, dynamic_shapes=(free,))


def inputs_of(cases: Mapping[str, Case]) -> tuple[Tensor, ...]:
    return tuple(t for case in cases.values() for t in case.inputs)


def compare(cases: Mapping[str, Case], found: Sequence[np.ndarray]) -> None:
    """Compare the output of each case with torch's on the same inputs."""
    for name, got, expected in zip(cases, found, Calls(cases)(*inputs_of(cases)), strict=True):
        want = expected.numpy()
        rtol, atol = (1e-13, 1e-14) if want.dtype == np.float64 else (1e-4, 0.0 if name in SMALL else 1e-6)
        assert got.dtype == want.dtype, name
        np.testing.assert_allclose(got, want, rtol=rtol, atol=atol, err_msg=name)


def run_file(cases: Mapping[str, Case], rules: tuple[Rule, ...]) -> list[np.ndarray]:
    """Write some cases as ONNX with some rules, and run them in onnxruntime."""
    written = as_torch_writes(captured(cases), rules=rules, custom_translation_table=table.translations())
    session, inputs = onnxruntime.InferenceSession(written.model_proto.SerializeToString()), inputs_of(cases)
    return session.run(None, {i.name: t.numpy() for i, t in zip(session.get_inputs(), inputs, strict=True)})


def noting(rule: Rule, applied: set[str]) -> Rule:
    """Return a rule that records that it replaced a call."""
    replacement: Callable[..., Any] = rule.replacement

    def replace(*args: Any, **kwargs: Any) -> Any:
        found = replacement(*args, **kwargs)
        if found is not NotImplemented:
            applied.add(name_of(rule))
        return found

    return dataclasses.replace(rule, replacement=replace)


def test_each_rule_has_a_case() -> None:
    assert len(RULES) == len(table.RULES)
    assert sorted(CASES) == sorted(RULES)


@pytest.mark.slow
@pytest.mark.parametrize("topic", TOPICS)
def test_the_rules_of_a_topic_hold_at_a_size_that_was_not_traced(topic: str) -> None:
    cases = {name: case for name, case in CASES.items() if name.startswith(f"{topic} ")}
    applied: set[str] = set()
    program = table.decomposed(captured(cases), {}, tuple(noting(rule, applied) for rule in table.RULES))
    assert set(cases) <= applied
    compare(cases, [t.numpy() for t in program.module()(*inputs_of(cases))])
    compare(cases, run_file(cases, table.RULES))


@pytest.mark.nightly
@pytest.mark.parametrize("name", RULES)
def test_a_file_holds_by_the_rule_alone(name: str) -> None:
    case = {name: CASES[name]}
    compare(case, run_file(case, table.RULES))


@pytest.mark.nightly
@pytest.mark.parametrize("name", [n if n in SPARE else pytest.param(n, marks=NEEDED) for n in RULES])
def test_a_file_without_the_rule(name: str) -> None:
    """Fails when torch and onnxruntime no longer need a rule, or need one that is in ``SPARE``."""
    case, others = {name: CASES[name]}, tuple(rule for rule in table.RULES if rule is not RULES[name])
    compare(case, run_file(case, others))
