"""Every error of the package is in one tree, in one file."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import lightning_onnx
from lightning_onnx import (
    ConfigurationError,
    Int8,
    Latency,
    MetricParity,
    ONNXExport,
    ONNXExportError,
    Parity,
    RuntimeParity,
    errors,
)

PACKAGE = Path(lightning_onnx.__file__).parent
CLASSES = {name: value for name, value in vars(errors).items() if inspect.isclass(value)}


def test_all_derive_from_one() -> None:
    assert [name for name, value in CLASSES.items() if not issubclass(value, ONNXExportError)] == []


def test_the_tree_in_the_docstring_is_that_of_the_classes() -> None:
    parents: dict[str, str] = {}
    above: list[str] = []
    for line in re.findall(r"^    ( *\w+)", inspect.getdoc(errors) or "", re.MULTILINE):
        name = line.strip()
        above = above[: (len(line) - len(name)) // 2]
        parents[name] = above[-1] if above else "Exception"
        above.append(name)
    assert parents == {name: value.__bases__[0].__name__ for name, value in CLASSES.items()}


def test_no_other_file_defines_one() -> None:
    bases = [
        (base.attr if isinstance(base, ast.Attribute) else getattr(base, "id", ""), f"{file}: {node.name}")
        for file in sorted(PACKAGE.rglob("*.py"))
        if file.name != "errors.py"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        for base in node.bases
    ]
    assert [name for base, name in bases if base in CLASSES or base.endswith(("Error", "Exception"))] == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Parity(rtol=-1),
        lambda: Parity(atol=float("nan")),
        lambda: MetricParity(limit_batches=-1),
        lambda: MetricParity(tolerances={"loss": -1.0}),
        lambda: RuntimeParity(precision="half"),
        lambda: Latency(batch_sizes=()),
        lambda: Latency(runtimes=("tvm",)),
        lambda: Int8(max_difference=-1),
        lambda: ONNXExport(opset_version=3),
    ],
)
def test_an_invalid_option_is_a_configuration_error_and_a_value_error(make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert isinstance(caught.value, ValueError)


def raised(outer: str, inner: str | None) -> Exception:
    try:
        try:
            raise KeyError(inner)
        except KeyError as error:
            raise OSError(outer) from (error if inner is not None else None)
    except OSError as error:
        return error


def test_chain_goes_from_the_outermost_to_the_first_cause() -> None:
    assert [type(e) for e in errors.chain(raised("a", "b"))] == [OSError, KeyError]
    assert [type(e) for e in errors.chain(raised("a", None))] == [OSError]  # raised from None: hidden on purpose


def test_chain_ends_where_errors_cause_each_other() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert errors.chain(first) == [first, second]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("\n \n  no such file \nmore"), "OSError: no such file"),
        (OSError(), "OSError"),
        (ValueError("a" * 400), f"ValueError: {'a' * 287}…"),
    ],
)
def test_first_line(error: Exception, line: str) -> None:
    assert errors.first_line(error) == line
