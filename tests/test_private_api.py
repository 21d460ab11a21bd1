"""docs/limits.md lists what the package uses of other packages' private API, by file: compared with the code."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lightning_onnx"

NO_API = {
    "_by_groups",
    "_dim_",
    "_dim_0",
    "_fields",
    "_pool",
    "_pool_of_the_whole_",
    "_float16",
    "_imag",
    "_real",
    "_passed",
    "_transposed",
    "_folded",
    "_output_shapes",
}
"""Parts of names that the package makes, an attribute of TensorBoard's graphs, and what named tuples document."""

OVERRIDABLE = {name for kind in (nn.Module(), LightningModule(), ModelCheckpoint()) for name in dir(kind)}
"""A method or attribute of such a name is theirs, wherever it is defined."""


@functools.cache
def private(name: str) -> bool:
    return any(part != "_" and re.fullmatch(r"_(?!_)\w*", part) for part in name.split("."))


def own_names(tree: ast.Module) -> set[str]:
    """The names that a file itself defines: functions, parameters, variables, attributes; without overrides."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            found.add(node.name)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and dotted(node.value) == "self":
            found.add(node.attr)
    return found - OVERRIDABLE


def dotted(node: ast.expr) -> str:
    """The full name of an attribute; the part after the last call or index if there is one."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imports(tree: ast.Module) -> dict[str, str]:
    """The full name of each import, except those of this package."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {a.asname: a.name for a in node.names if a.asname}
            found |= {a.name.split(".")[0]: a.name.split(".")[0] for a in node.names if not a.asname}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("lightning_onnx"):
            found |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return found


def uses(tree: ast.Module) -> Iterator[str]:
    """Each private name, in full where it is reached from an import, else as the name of an attribute."""
    imported, own = imports(tree), own_names(tree)
    modules = [a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names]
    parts = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}  # no names
    yield from filter(private, {*imported.values(), *modules})
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = dotted(node).partition(".")
            if first in imported and private(full := f"{imported[first]}.{rest}"):
                yield full
            elif private(node.attr) and node.attr not in own | NO_API and first not in imported:
                yield node.attr
        elif isinstance(node, ast.ClassDef):
            methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            yield from filter(private, methods & OVERRIDABLE)
        elif isinstance(node, ast.keyword) and node.arg and private(node.arg) and node.arg not in own:
            yield node.arg
        elif isinstance(node, ast.Constant) and node not in parts and isinstance(name := node.value, str):
            yield from [name] if private(name) and name.isidentifier() and name not in own | NO_API else []
            owner = name.partition(":")[0]  # of a patch: "module:attribute"
            yield from [owner] if private(owner) and re.fullmatch(r"torch(\.\w+)+", owner) else []


def in_the_code() -> dict[str, set[str]]:
    files = {path.relative_to(PACKAGE).as_posix(): path for path in PACKAGE.rglob("*.py")}
    found = {file: set(uses(ast.parse(path.read_text(encoding="utf-8")))) for file, path in files.items()}
    return {file: without_prefixes(names) for file, names in found.items() if names}


def without_prefixes(names: set[str]) -> set[str]:
    """``torch._C`` stands in ``torch._C._nn`` already."""
    return {name for name in names if not any(other.startswith(f"{name}.") for other in names)}


def in_the_document() -> dict[str, set[str]]:
    text = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    section = text[text.index("## Private API") :]
    rows = re.findall(r"^\| `([\w/]+\.py)` \| (.+?) \|", section, re.MULTILINE)
    return {file: set(re.findall(r"`([^`]+)`", names)) for file, names in rows}


def test_the_document_lists_the_names_in_the_code() -> None:
    assert in_the_document() == in_the_code()


FULL_NAMES = sorted({name for names in in_the_document().values() for name in names if "." in name})


@pytest.mark.parametrize("name", FULL_NAMES)
def test_full_names_still_exist(name: str) -> None:
    parts = name.split(".")
    pytest.importorskip(parts[0])
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import torch._C", {"torch._C"}),
        ("from torch.utils import _pytree as tree\ntree.map", {"torch.utils._pytree.map"}),
        ("import torch\ntorch._C._nn._parse_to()", {"torch._C._nn._parse_to"}),
        ("x._buffers", {"_buffers"}),
        ("getattr(x, '_trainer', None)", {"_trainer"}),
        ("class A(nn.Module):\n    def _apply(self): update(_trainer=None)", {"_apply", "_trainer"}),
        ("class A:\n    def f(self): self._mine = self._theirs", {"_theirs"}),
        ("x.__dict__; '__name__'; '_a b'; '_dim_'", set()),
    ],
)
def test_uses_are_found(code: str, found: set[str]) -> None:
    assert without_prefixes(set(uses(ast.parse(code)))) == found
