"""Hooks of the site: the current help of each command, and examples in docstrings."""

from __future__ import annotations

import contextlib
import io
import os
import re
from typing import Any
from unittest import mock

import griffe

from lightning_onnx.cli import main

_PLACE = re.compile(r"^<!-- help:(.*)-->$", re.MULTILINE)
_COLUMNS = "92"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace ``<!-- help: export -->`` by the output of ``lightning-onnx export --help``."""
    return _PLACE.sub(lambda place: f"```text\n{help_of(place[1].split())}```", markdown)


def help_of(command: list[str]) -> str:
    """Return the help of a command.

    Args:
        command: Its name, or nothing for that of the program.
    """
    printed = io.StringIO()
    with mock.patch.dict(os.environ, COLUMNS=_COLUMNS, NO_COLOR="1"), contextlib.redirect_stdout(printed):
        try:
            main.main([*command, "--help"])
        except SystemExit as end:
            if end.code:
                raise ValueError(f"'lightning-onnx {' '.join(command)} --help' ended with {end.code}") from end
    return printed.getvalue()


class Examples(griffe.Extension):
    """Reads ``Example:`` in docstrings as a section of code; griffe knows only ``Examples:``."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
