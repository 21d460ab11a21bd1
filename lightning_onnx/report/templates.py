"""The templates beside this file, read by jinja2; whatever is put into one is escaped."""

from __future__ import annotations

import functools
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2


@functools.cache
def template(name: str) -> jinja2.Template:
    """Return a template.

    Args:
        name: Its file name.
    """
    import jinja2

    loader = jinja2.FunctionLoader(text)
    return jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=loader).get_template(name)


@functools.cache
def text(name: str) -> str:
    """Return the text of a file beside this one.

    Args:
        name: Its file name.
    """
    return resources.files("lightning_onnx.report").joinpath(name).read_text(encoding="utf-8")
