"""The runner of the libraries' cases, and the cases of those that install quickly."""

from __future__ import annotations

import dataclasses
import subprocess
from pathlib import Path

import pytest

from tests.zoo.case import LitXY, first, images
from tests.zoo.isolated import page, result, run
from tests.zoo.isolated.environment import CannotInstall, python_of
from tests.zoo.isolated.library import Library, all_libraries
from tests.zoo.isolated.result import Result

NIGHTLY = {"pytorch_crf/likelihood"}
NOTHING = Library("numpy", cases=(), requires=())


def test_an_environment_shares_packages_and_is_kept(tmp_path: Path) -> None:
    python = python_of(NOTHING, tmp_path)
    code = "import sys, numpy; print(sys.prefix, numpy.__file__)"
    prefix, numpy = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert Path(prefix).parent == tmp_path.resolve()
    assert not numpy.startswith(prefix)
    (python.parent / "kept").touch()
    assert python_of(NOTHING, tmp_path) == python
    assert (python.parent / "kept").exists()


@pytest.mark.slow
def test_what_cannot_be_installed_is_told(tmp_path: Path) -> None:
    library = dataclasses.replace(NOTHING, requires=("./no-such-folder",))
    with pytest.raises(CannotInstall, match="no-such-folder"):
        python_of(library, tmp_path)
    told = run.run_case(library, "numpy/case", tmp_path, time_limit=60)
    assert (told.kind, told.is_as_expected) == ("not installed", False)


def test_the_newest_result_counts(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    old = Result("a", "1.0", "a/one", "wrong", reason="differs", free=("batch",), preflight=1.5)
    new = dataclasses.replace(old, kind="right", reason="")
    for each in (old, dataclasses.replace(old, case="a/two"), new):
        result.append(path, each)
    found = result.read(path)
    assert (found["a/one"], found["a/two"].kind) == (new, "wrong")
    assert result.read(tmp_path / "none.jsonl") == {}


@pytest.mark.parametrize(
    ("kind", "expected", "is_as_expected"),
    [("right", "", True), ("refused", "an SVD", True), ("right", "an SVD", False), ("refused", "", False)],
)
def test_a_case_is_as_expected(kind: str, expected: str, is_as_expected: bool) -> None:
    assert Result("a", "1", "a/b", kind, expected=expected).is_as_expected == is_as_expected


def test_no_directory_gets_into_a_result() -> None:
    assert result.shortened("in  /home/me/lib/nets.py:12\nat x/y.py, 1/2") == "in nets.py:12 at x/y.py, 1/2"
    assert len(result.shortened("x" * 1000)) == 300


def test_the_page() -> None:
    results = [
        Result("a", "1.0", "a/one", "right", free=("batch",), preflight=2.0, plain=1.0),
        Result("b", "2.0", "b/two", "wrong", reason="x | y <z>", plain_error="TypeError: no"),
    ]
    text = page.written(results)
    assert "**2 cases of 2 libraries: 1 right, 1 wrong.**" in text
    assert "| a 1.0 | one | right | `batch` | 2.0 | 1.0 |" in text
    assert "| b 2.0 | two | wrong: x \\| y \\<z\\> |  |  | TypeError: no |" in text


def test_names_of_cases_are_unique_and_begin_with_the_library() -> None:
    names = [case.name for library in all_libraries() for case in library.cases]
    assert len(set(names)) == len(names)
    assert all(name.count("/") == 1 and name.islower() for name in names)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "case"),
    [
        pytest.param(library, case.name, id=case.name, marks=[pytest.mark.nightly] * (case.name in NIGHTLY))
        for library in all_libraries()
        for case in library.cases
        if library.is_quick
    ],
)
def test_case(library: Library, case: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    found = run.run_case(library, case, tmp_path_factory.getbasetemp() / "libraries", time_limit=500)
    if found.kind == "not installed":
        pytest.skip(found.reason)
    assert found.is_as_expected, found.reason


@pytest.mark.slow
def test_a_process_that_ends_early_is_wrong(tmp_path: Path) -> None:
    found = run.run_case(NOTHING, "numpy/unknown", tmp_path, time_limit=100)
    assert found.kind == "wrong"
    assert "ended with 1" in found.reason
    assert run.run_case(NOTHING, "numpy/unknown", tmp_path, time_limit=0.1).reason == "it took more than 0 s"


@pytest.mark.slow
def test_one_measures_and_names_what_is_free(tmp_path: Path) -> None:
    from torch import nn

    from tests.zoo.case import Case
    from tests.zoo.isolated import one

    case = Case("numpy/linear", lambda: LitXY(nn.Linear(3, 2)), images((3,)), first)
    found = one.run(NOTHING, case)
    assert (found.kind, found.free, found.reason) == ("right", ("batch",), "")
    assert found.preflight is not None
    assert found.plain is not None


def test_the_reason_of_a_limit_is_the_warning() -> None:
    from tests.zoo.isolated import one
    from tests.zoo.run import Outcome, Verdict

    outcome = Outcome(None, None, None, 1.0, ["ONNX export: unused", "ONNX export: dim 1 is static: a loop"])
    assert one.told(Verdict("limited", "free: no", outcome)) == "dim 1 is static: a loop"
    assert one.told(Verdict("wrong", "same: no", outcome)) == "same: no"
    assert one.told(Verdict("refused", "no operator", None)) == "no operator"
