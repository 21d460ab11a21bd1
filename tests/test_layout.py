"""The tests have the folders of the modules; exceptions are listed in the README.md of this folder."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "lightning_onnx"
MOST_LINES = 300
LISTED = re.findall(r"^\| `([^`]+)` \| `([^`]+)` \|$", (TESTS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)

MODULES = {path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"}


def test_each_module_has_a_test_file_or_a_line_in_the_readme() -> None:
    listed = {Path(module) for module, _ in LISTED}
    untested = {m for m in MODULES if not (TESTS / m.with_name(f"test_{m.name}")).exists()} - listed
    assert not untested, "add a test file of the same name, or a line to tests/README.md"


def test_the_readme_names_files_that_exist() -> None:
    assert len(LISTED) > 10
    assert [m for m, _ in LISTED if Path(m) not in MODULES] == []
    assert [t for _, t in LISTED if not (TESTS / t).is_file()] == []


def test_each_folder_of_tests_is_one_of_the_package_or_known() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    beside = {Path(), Path("examples"), Path("property"), Path("zoo"), Path("zoo/isolated")}
    assert [f for f in folders - beside if not (PACKAGE / f).is_dir()] == []


def test_a_long_file_says_why_in_its_first_lines() -> None:
    unexplained = []
    for module in MODULES:
        text = (PACKAGE / module).read_text(encoding="utf-8")
        reason = ast.get_docstring(ast.parse(text)) or ""
        if text.count("\n") > MOST_LINES and not re.search(r"\b([Ll]ong|[Ll]onger|lines)\b", reason):
            unexplained.append(str(module))
    assert not unexplained
