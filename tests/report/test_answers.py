from __future__ import annotations

import contextlib
import dataclasses
import io

import numpy as np
import pytest

from lightning_onnx import ONNXArtifact
from lightning_onnx.manifest.contract import Contract, OutputContract, Step
from lightning_onnx.report.answers import answers, intake

LABELS = ("a 'b'", "c\n")
SCORES = np.array([[0.0, 2.0], [3.0, 0.0]], np.float32)


@pytest.mark.parametrize(
    ("own", "output", "printed"),
    [
        (OutputContract(LABELS, "scores", 1, "softmax"), SCORES, ["c\n: 88.1%", "a 'b': 95.3%"]),
        (OutputContract(LABELS, "scores", 1, "sigmoid"), SCORES, ["c\n: 88.1%", "a 'b': 95.3%"]),
        (OutputContract(LABELS, "probabilities", 1), SCORES / 4, ["c\n: 50.0%", "a 'b': 75.0%"]),
        (OutputContract(LABELS, "indices"), np.array([1, 0]), [str(["c\n", "a 'b'"])]),
        (OutputContract(LABELS, "scores", 1, "softmax"), SCORES.T[None], ["c\n: 88.1%", "a 'b': 95.3%"]),
    ],
)
def test_lines_print_names_and_probabilities(
    own: OutputContract, output: np.ndarray, printed: list[str], exported: ONNXArtifact
) -> None:
    record = dataclasses.replace(exported.record, contract=Contract(outputs={"output": own}))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec("\n".join(answers(record)), {"np": np, "outputs": [output]})
    for text in printed:
        assert text in out.getvalue()


def test_without_a_contract_there_are_no_lines(exported: ONNXArtifact) -> None:
    without = dataclasses.replace(exported.record, contract=None)
    assert (answers(without), intake(without)) == ([], [])


def test_steps_are_comments_of_one_line(exported: ONNXArtifact) -> None:
    steps = (Step("a", "divide by 255"), Step("b", "apply x\nimport os"), Step("c", "crop", in_graph=True))
    record = dataclasses.replace(exported.record, contract=Contract(steps=steps))
    assert intake(record) == ["# before the model: divide by 255", "# before the model: apply x\\nimport os"]
