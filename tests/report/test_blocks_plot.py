from __future__ import annotations

import re

import pytest

from lightning_onnx.module.calls.signature import Signature, TensorSpec
from lightning_onnx.onnxfile.graph_summary import Block
from lightning_onnx.report.blocks_plot import draw

SIGNATURE = Signature((TensorSpec("x", "float32", ("batch", 3)),), (TensorSpec("y", "float32", ("batch", 2)),))


def drawn(*shape: int | str) -> str:
    blocks = [Block("first", "Conv2d", 1, shape, (-1,)), Block("last", "Linear", 1, ("batch", 2), (0,))]
    picture = draw(blocks, SIGNATURE)
    assert picture is not None
    return picture


@pytest.mark.parametrize(
    ("dim", "text"),
    [
        (16, "16"),
        ("sequence_length", "sequence_length"),
        ("height//2", "height//2"),
        ("((images_dim_1 - 1)//2) + 1", "…"),
    ],
)
def test_a_long_expression_hides_no_other_dim(dim: int | str, text: str) -> None:
    assert f"batch × {text} × 7" in drawn("batch", dim, 7)


def test_long_names_do_not_touch() -> None:
    name, kind = "enc.layers.0.self_attn", "MultiheadAttention"
    picture = draw([Block("emb", "Embedding", 1, None, (-1,)), Block(name, kind, 1, None, (0,))], SIGNATURE)
    assert picture is not None
    size = re.search(rf'font-size="(\d+)"[^>]*>{kind}<', picture)
    letters = 0.55 * 11 * len(name) + 0.525 * int(size[1] if size else 11) * len(kind)  # measured in DejaVu Sans
    assert letters + 8 < 258 - 2 * 10  # the box and its margins


def test_one_part_is_no_picture() -> None:
    assert draw([Block("only", None, 1, None, (-1,))], SIGNATURE) is None


def test_no_line_runs_through_the_names_of_the_inputs() -> None:
    blocks = [Block("a", None, 1, None, (-1,)), Block("b", None, 1, None, (0,)), Block("c", None, 1, None, (1, -1))]
    picture = draw(blocks, SIGNATURE)
    assert picture is not None
    names, start = re.search(r'y="(\d+)"[^>]*>x<', picture), re.search(r'd="M\d+ (\d+)H', picture)
    assert names is not None
    assert start is not None
    assert int(start[1]) > int(names[1]) + 4  # below the letters
