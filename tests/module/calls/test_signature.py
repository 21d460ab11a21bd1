"""The dims of a signature."""

from __future__ import annotations

from lightning_onnx.module.calls.signature import Signature, SizeRange, TensorSpec


def signature(*shapes: tuple[int | str, ...]) -> Signature:
    return Signature(tuple(TensorSpec(f"x{i}", "float32", shape) for i, shape in enumerate(shapes)), ())


def test_dynamic_dims_in_order_of_appearance() -> None:
    assert signature(("b", 3, "n"), (2, "n", "m")).dynamic == ("b", "n", "m")


def test_the_batch_is_called_so_or_was_named_and_comes_first_everywhere() -> None:
    assert signature((3, "batch")).batch == "batch"
    assert signature(("rows", 3), ("rows",)).batch == "rows"
    assert signature(("rows", 3), (3,)).batch is None
    assert signature(("x0_dim_0", 3)).batch is None  # a derived name
    assert signature((2, 3)).batch is None


def test_batch_axes() -> None:
    assert signature((3, "batch"), (5,)).batch_axes() == {"x0": 1, "x1": None}


def test_text() -> None:
    spec = TensorSpec("x", "float32", ("batch", 3))
    assert str(Signature((spec,), (TensorSpec("y", "int64", ()),))) == "(x: float32[batch, 3]) -> (y: int64[])"


def test_conditions_are_relations_and_ranges() -> None:
    found = Signature((), (), ("time is a multiple of 4",), {"batch": SizeRange(1, 16), "time": SizeRange(8)})
    assert found.conditions == ("time is a multiple of 4", "batch: 1 to 16", "time: 8 or more")


def test_sizes_in_a_range() -> None:
    assert [size in SizeRange(2, 4) for size in (1, 2, 4, 5)] == [False, True, True, False]
    assert 10**6 in SizeRange(2)
