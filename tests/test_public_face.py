"""The public names are the same in ``__init__.py``, for type checkers, in ``dir()`` and in the documentation."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from collections import Counter
from importlib import metadata
from pathlib import Path

import pytest

import lightning_onnx

ROOT = Path(__file__).parent.parent
STUB = ROOT / "lightning_onnx" / "__init__.pyi"
PAGES = ROOT / "docs" / "api"
NAMES = lightning_onnx.__all__


def imported_by_the_stub() -> list[tuple[str, str]]:
    """Return the file and the name of each import in ``__init__.pyi``."""
    *statements, version = ast.parse(STUB.read_text(encoding="utf-8")).body
    assert all(isinstance(s, ast.ImportFrom) for s in statements)
    assert ast.unparse(version) == "__version__: str"
    return [(str(s.module), a.name) for s in statements if isinstance(s, ast.ImportFrom) for a in s.names]


def test_type_checkers_see_the_same_names() -> None:
    assert sorted(name for _, name in imported_by_the_stub()) == NAMES


def test_the_stub_makes_every_name_public() -> None:
    """Without ``as``, type checkers take an import in a stub for private."""
    aliases = [
        a for s in ast.parse(STUB.read_text(encoding="utf-8")).body if isinstance(s, ast.ImportFrom) for a in s.names
    ]
    assert [a.name for a in aliases if a.asname != a.name] == []


def test_dir_lists_the_public_names() -> None:
    assert [name for name in dir(lightning_onnx) if not name.startswith("__")] == NAMES


def test_each_name_has_one_place_in_the_api_pages() -> None:
    headings = [
        name
        for page in PAGES.glob("*.md")
        for name in re.findall(r"^::: lightning_onnx\.(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert Counter(headings) == Counter(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_name_imports_from_the_file_of_the_stub_and_has_a_docstring(name: str) -> None:
    (file,) = (file for file, of_file in imported_by_the_stub() if of_file == name)
    value = getattr(lightning_onnx, name)
    assert value is getattr(importlib.import_module(file), name)
    assert value.__module__ == file
    assert value.__doc__
    assert not value.__doc__.startswith(f"{name}(")  # what dataclasses write where there is none


def test_the_version_is_that_of_the_installed_package() -> None:
    assert lightning_onnx.__version__ == metadata.version("lightning-onnx")
    assert "__version__" in dir(lightning_onnx)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match="module 'lightning_onnx' has no attribute 'Nothing'"):
        lightning_onnx.Nothing  # noqa: B018


def test_the_import_loads_neither_torch_nor_lightning() -> None:
    program = "import lightning_onnx, sys; print(*sorted({m.partition('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    assert "lightning_onnx" in loaded
    heavy = {"torch", "lightning", "pytorch_lightning", "numpy", "onnx", "onnxruntime", "matplotlib"}
    assert heavy & set(loaded) == set()
