"""Files and Python names mentioned in the documents exist."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "tests/README.md", "pyproject.toml", "mkdocs.yml")),
    *(page for page in (ROOT / "docs").rglob("*.md") if page.name != "zoo.md"),  # it quotes errors of libraries
]
FOLDERS = [ROOT / name for name in (".", "lightning_onnx", "tests", "examples")]
"""What a path in a document may be relative to."""

FILES = {path.name for folder in FOLDERS[1:] for path in folder.rglob("*.py")}

METADATA = re.compile(r"lightning_onnx\.(variant|epoch|global_step|\*)")
"""Keys in an ONNX file, which look like names of Python."""

NOT_OURS = {"main.py", "train.py"}
"""Scripts of the reader."""


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_exist(page: Path) -> None:
    named = set(re.findall(r"(?<![\w./-])((?:[\w.-]+/)*\w+\.py)\b", page.read_text(encoding="utf-8"))) - NOT_OURS
    assert {name for name in named if name not in FILES and not any((f / name).exists() for f in FOLDERS)} == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_names_exist(page: Path) -> None:
    text = re.sub(r"^```(?!text).*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = set(re.findall(r"(?<![\w.])lightning_onnx(?:[.:][A-Za-z_]\w*)+", text))
    missing = {name for name in named if not METADATA.fullmatch(name) and not exists(name.replace(":", "."))}
    assert missing == set()


def exists(name: str) -> bool:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True
    return False


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("lightning_onnx.trackers.register", True),
        ("lightning_onnx.errors.EngineError", True),
        ("lightning_onnx.callback", False),
        ("lightning_onnx.errors.Nothing", False),
    ],
)
def test_existence(name: str, there: bool) -> None:
    assert exists(name) == there


def test_warnings_on_the_page_are_those_of_the_package() -> None:
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    texts = re.findall(r"^\| `([^`]+ [^`]+)` \|", page, re.MULTILINE)
    assert len(texts) >= 8
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "lightning_onnx").rglob("*.py"))
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # one message over several lines
    assert [text for text in texts if text not in code] == []


def test_the_readme_is_short_and_begins_with_code() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "ONNXExport()" in "\n".join(text.splitlines()[:25])
    assert len(re.sub(r"```.*?```", "", text, flags=re.DOTALL).split()) < 1000
