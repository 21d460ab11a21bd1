from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests import outside

from .running import run

pytestmark = pytest.mark.slow


def test_adapters_are_merged_and_lengths_are_free(tmp_path: Path) -> None:
    output = run("text_classification.py", "--root", tmp_path, cwd=tmp_path)
    (right,) = re.findall(r"(\d+\.\d)% of \d+ snippets", output)
    assert float(right) > 50  # six classes
    assert all(float(d) < 1e-4 for d in re.findall(r"largest difference to the module (\S+)", output))

    (model,) = tmp_path.rglob("model.onnx")
    graph = onnx.load(model).graph
    operators = Counter(node.op_type for node in graph.node)
    # two layers with four projections, two of the feed-forward and two products of attention; two of the head
    assert operators["MatMul"] + operators["Gemm"] == 2 * (4 + 2 + 2) + 2
    assert not [n for n in (*graph.node, *graph.initializer) if "lora" in n.name.lower()]
    shapes = outside.shapes(model)
    assert shapes["input_ids"] == shapes["attention_mask"]
    assert all(isinstance(dim, str) for dim in shapes["input_ids"])

    ids = np.random.default_rng(0).integers(1, 100, (3, 57))
    mask = np.ones_like(ids)
    mask[0, 20:] = 0
    (logits,) = outside.run(model, input_ids=ids, attention_mask=mask)
    (alone,) = outside.run(model, input_ids=ids[:1, :20], attention_mask=mask[:1, :20])
    assert logits.shape == (3, 6)
    np.testing.assert_allclose(logits[:1], alone, atol=1e-4)  # padding changes nothing
