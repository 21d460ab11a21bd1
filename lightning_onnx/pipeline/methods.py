"""Several methods in one artifact: the options of each, made from those of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_onnx.errors import ConfigurationError, did_you_mean
from lightning_onnx.pipeline.assets import DIRECTORY as ASSETS
from lightning_onnx.pipeline.config import ExportConfig

BY_METHOD = ("sample", "input_names", "output_names", "dynamic_axes", "labels", "contract")
"""Options that describe the inputs and outputs of one method; with several, a dict gives them by method."""

_FOR_ALL: dict[str, tuple[object, ...]] = {"dynamic_axes": (None, "auto"), "contract": (None, False)}
"""Values of these options that hold for every method, besides None for the others."""

_OF_ONE = ("preprocess", "postprocess")


def configs_of(method: object, **options: Any) -> tuple[ExportConfig, ...]:
    """Return the options of each method.

    Args:
        method: Name of a method, or a list of names.
        options: The other options of ``ExportConfig``; with a list, those in ``BY_METHOD`` are dicts by method.

    Raises:
        ConfigurationError: If an option is invalid, or does not work with several methods.

    Example:
        >>> encode, decode = configs_of(["encode", "decode"], output_names={"encode": ["mean", "log_variance"]})
        >>> encode.output_names, decode.output_names
        (['mean', 'log_variance'], None)
    """
    if not isinstance(method, (list, tuple)):
        return (ExportConfig(method=method, **options),)  # type: ignore[arg-type]  # it raises if it is not a name
    methods = _checked(method)
    for name in _OF_ONE:
        if options.get(name) is not None and len(methods) > 1:
            raise ConfigurationError(
                f"{name}=... works with one method, but method={methods}. Give the method that it belongs to an "
                "ONNXExport of its own, with another dirpath."
            )
    shared = {name: value for name, value in options.items() if name not in BY_METHOD}
    own = {name: _by_method(name, options[name], methods) for name in BY_METHOD if name in options}
    return tuple(
        ExportConfig(method=m, **shared, **{name: given[m] for name, given in own.items() if m in given})
        for m in methods
    )


def _checked(methods: Sequence[object]) -> list[str]:
    names = [name for name in methods if isinstance(name, str) and name.isidentifier()]
    if not methods or len(names) < len(methods):
        raise ConfigurationError(
            f"method={list(methods)!r} is not a list of method names. Give one such as ['encode', 'decode']."
        )
    if len({name.lower() for name in names}) < len(names):  # each is the name of a file
        raise ConfigurationError(f"method={names} has the same name twice. Give each method once.")
    if ASSETS in {name.lower() for name in names}:
        raise ConfigurationError(
            f"method={names} has {ASSETS!r}, which is the name of a directory in artifacts. Rename the method."
        )
    return names


def _by_method(option: str, value: object, methods: Sequence[str]) -> Mapping[str, Any]:
    """Return the values of an option by method; methods without one have the default."""
    general = _FOR_ALL.get(option, (None,))
    if isinstance(value, (str, bool, type(None))) and value in general:
        return dict.fromkeys(methods, value)
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError(
            f"{option}={value!r} does not say which of the methods {list(methods)} it is for. Give a dict: "
            f"{option}={{{methods[0]!r}: ...}}."
        )
    unknown = [name for name in value if name not in methods]
    if unknown:
        raise ConfigurationError(
            f"{option} has the key {unknown[0]!r}, but with several methods its keys are methods"
            f"{did_you_mean(unknown[0], methods)} Give a dict with keys out of {list(methods)}."
        )
    return value
