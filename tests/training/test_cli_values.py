"""A wrong value of ``main.py export`` is told in one line."""

from __future__ import annotations

import pytest

from lightning_onnx.training.cli_values import in_one_line

UNION = """Parser key "{}":
  Does not validate against any of the Union subtypes
  Subtypes: [{}, <class 'NoneType'>]
  Errors:
    - Expected a <class 'list'>
    - Expected a <class 'NoneType'>
  Given value type: <class 'str'>
  Given value: {}"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            UNION.format("variants", "list[str]", "int8"),
            "--variants int8: the value has to be list[str], not 'int8'. Give one such as --variants '[int8]'.",
        ),
        (
            UNION.format("metadata", "dict[str, str]", "3"),
            "--metadata 3: the value has to be dict[str, str], not '3'.",
        ),
        ("unrecognized arguments: --nothing", "unrecognized arguments: --nothing"),
        ('Parser key "config": File does not exist', 'Parser key "config": File does not exist'),
    ],
)
def test_in_one_line(said: str, told: str) -> None:
    assert in_one_line(said) == told
