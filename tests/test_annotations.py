"""Annotations name types: a bare ``Any`` says nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "lightning_onnx"
MOST = 0.04
"""The largest share of annotations that may be a bare ``Any``."""


def annotations(tree: ast.Module) -> Iterator[ast.expr]:
    """Those of parameters, returns, attributes and variables."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.arg, ast.AnnAssign)) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns is not None:
            yield node.returns


def counted(code: str) -> tuple[int, int]:
    """Return the number of annotations that are a bare ``Any``, and of all annotations."""
    found = [getattr(annotation, "id", getattr(annotation, "value", "")) for annotation in annotations(ast.parse(code))]
    return found.count("Any"), len(found)


def test_few_are_bare_any() -> None:
    by_file = {p.relative_to(PACKAGE).as_posix(): counted(p.read_text(encoding="utf-8")) for p in PACKAGE.rglob("*.py")}
    bare, all_ = (sum(column) for column in zip(*by_file.values(), strict=True))
    most = sorted(((bare, file) for file, (bare, _) in by_file.items()), reverse=True)[:10]
    assert bare <= MOST * all_, f"{bare} of {all_}; most in {most}"


def test_counted_functions() -> None:
    code = "def f(a: Any, b: 'Any', *c: int, **d: dict[str, Any]) -> Any: x: Any = 1\nclass A:\n    y: list[Any]"
    assert counted(code) == (4, 7)
