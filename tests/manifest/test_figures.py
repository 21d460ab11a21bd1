from __future__ import annotations

import pytest

from lightning_onnx import ArtifactError
from lightning_onnx.manifest.fields import Fields
from lightning_onnx.manifest.figures import (
    ComparisonFigures,
    MetricFigures,
    OutputFigures,
    VariantFigures,
    runtime_of,
)


def test_figures_of_a_comparison() -> None:
    figures = {
        "outputs": {"y": {"max_abs_diff": 0.5, "worst_ratio": {"traced": 2}, "ratios": [1, 2], "constant": None}},
        "cases": ["traced"],
        "ratio_edges": [1.0],
    }
    found = ComparisonFigures.find(figures)
    assert found.outputs == {"y": OutputFigures(max_abs_diff=0.5, worst_ratio={"traced": 2}, ratios=(1, 2))}
    assert (found.cases, found.ratio_edges, found.has_differences) == (("traced",), (1.0,), True)


@pytest.mark.parametrize("outputs", [{"y": 0.5}, ["y"], {"y": {"max_abs_diff": "small"}}, None])
def test_figures_in_another_form_are_not_a_comparison(outputs: object) -> None:
    assert ComparisonFigures.find({"outputs": outputs}) == ComparisonFigures()


def test_figures_of_a_variant() -> None:
    assert VariantFigures.read(Fields({"size_ratio": 0.5})) == VariantFigures(0.5, None, None, None)
    with pytest.raises(ArtifactError, match=r"variants\.figures\.size_ratio is 'half', expected a number"):
        VariantFigures.read(Fields({"size_ratio": "half"}, "variants.figures"))


def test_figures_of_a_metric() -> None:
    row = {"module": 1.0, "variant": None, "drop": None, "allowed": 0.1, "status": "failed"}
    assert MetricFigures.read(Fields(row)) == MetricFigures(1.0, None, None, 0.1, "failed")
    with pytest.raises(ArtifactError, match="status is missing"):
        MetricFigures.read(Fields({}))


def test_the_runtime_of_a_check() -> None:
    assert runtime_of({"runtime": "onnxruntime", "runtime_version": "1.23"}) == "onnxruntime 1.23"
    assert runtime_of({"runtime": "own"}) == "own"
    assert runtime_of({}) == ""
