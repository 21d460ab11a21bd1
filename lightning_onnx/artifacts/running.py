"""The inputs of a graph from the arguments of its method, and its outputs in the structure of the result; no torch."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lightning_onnx.errors import InputError
from lightning_onnx.manifest.manifest import Manifest

Path = Sequence[str]

_MOST_PARTS = 8
"""Parts of an argument that a message names."""


def inputs_of(manifest: Manifest, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, NDArray[Any]]:
    """Return the graph's inputs for a call of the exported method.

    Args:
        manifest: The artifact's manifest.
        args: Positional arguments: those of the method that hold tensors of the graph, in their order.
        kwargs: Arguments of the method, or inputs of the graph, by name.

    Raises:
        InputError: If an argument is missing, unknown or given twice, or lacks a part that the graph needs.
    """
    paths = manifest.source.input_paths or {spec.name: (spec.name,) for spec in manifest.signature.inputs}
    arguments = {path[0] for path in paths.values()}
    direct = {name: value for name, value in kwargs.items() if name in paths and name not in arguments}
    kwargs = {name: value for name, value in kwargs.items() if name not in direct}
    names = list(dict.fromkeys(path[0] for name, path in paths.items() if name not in direct))
    needed = f"the graph needs {', '.join(_described(name, paths) for name in names)}"
    if len(args) > len(names):
        raise InputError(f"{len(args)} arguments were given, but {needed}.")
    if len(args) == 1 and isinstance(args[0], Mapping) and (names[0],) in paths.values() and set(names) <= set(args[0]):
        raise InputError(f"one dict was given, but {needed}. Give its values by name: run(**inputs).")
    given = dict(zip(names, args, strict=False))
    twice = sorted(given.keys() & kwargs.keys())
    unknown = sorted(kwargs.keys() - set(names))
    missing = [name for name in names if name not in given and name not in kwargs]
    for one, several, found in (
        ("was given twice", "were given twice", twice),
        ("is unknown", "are unknown", unknown),
        ("is missing", "are missing", missing),
    ):
        if found:
            problem = f"argument {_listed(found)} {one}" if len(found) == 1 else f"arguments {_listed(found)} {several}"
            raise InputError(f"{problem}; {needed}.")
    given |= kwargs
    dtypes = {spec.name: spec.dtype for spec in manifest.signature.inputs}
    parts = {name: direct[name] if name in direct else _part(given[path[0]], path) for name, path in paths.items()}
    return {name: _array(part, dtypes[name]) for name, part in parts.items()}


def result_of(manifest: Manifest, outputs: Mapping[str, NDArray[Any]]) -> Any:
    """Return the outputs in the structure of the module's result: dicts and lists of arrays, or one array.

    Named tuples, dataclasses and other classes become dicts by field; what the graph does not return is left out.

    Args:
        manifest: The artifact's manifest.
        outputs: The graph's outputs by name.
    """
    paths = manifest.source.output_paths or {name: (name,) for name in outputs}
    if list(paths.values()) == [()]:
        return next(iter(outputs.values()))
    tree: dict[str, Any] = {}
    for name, path in paths.items():
        inner = tree
        for key in path[:-1]:
            inner = inner.setdefault(key, {})
        inner[path[-1]] = outputs[name]
    return _with_lists(tree)


def _part(value: Any, path: Path) -> Any:
    """Follow a path of keys, indices and attributes from an argument to one of its tensors."""
    for depth, key in enumerate(path[1:], 1):
        try:
            if isinstance(value, Mapping):
                value = value[key] if key in value else next(v for k, v in value.items() if str(k) == key)
            elif isinstance(value, (list, tuple)) and key.isdecimal():
                value = value[int(key)]
            else:
                value = getattr(value, key)
        except (LookupError, AttributeError, StopIteration) as error:
            raise InputError(
                f"the graph needs {'.'.join(path)}, but {'.'.join(path[:depth])} has no {key!r}: it is {_shown(value)}."
            ) from error
    return value


def _array(value: Any, dtype: str) -> NDArray[Any]:
    """Return a tensor, an array, or numbers as an array; only plain numbers take the graph's dtype."""
    if hasattr(value, "detach"):  # a tensor, so torch is there
        from lightning_onnx.module.arrays import to_numpy

        return to_numpy(value)
    try:
        return np.asarray(value) if isinstance(value, (np.ndarray, np.generic)) else np.asarray(value, dtype)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{reprlib.repr(value)} is not an array of {dtype} ({error}). Give an array or a tensor."
        ) from error


def _with_lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _with_lists(item) for key, item in value.items()}
    return list(inner.values()) if list(inner) == [str(i) for i in range(len(inner))] else inner


def _described(name: str, paths: Mapping[str, Path]) -> str:
    """Return an argument, with the graph's input that it fills if that has another name, or with its parts."""
    filled = [given for given, path in paths.items() if tuple(path) == (name,) and given != name]
    parts = list(dict.fromkeys(path[1] for path in paths.values() if path[0] == name and len(path) > 1))
    if parts and not all(part.isdecimal() for part in parts):
        return f"{name!r} with {_listed(parts[:_MOST_PARTS])}{', …' if len(parts) > _MOST_PARTS else ''} in it"
    return f"{name!r} (its input {filled[0]!r})" if filled else repr(name)


def _shown(value: object) -> str:
    if isinstance(value, Mapping):
        return f"a dict with the keys {_listed([str(key) for key in value])}" if value else "an empty dict"
    return f"a {type(value).__name__}" + (f" of {len(value)}" if isinstance(value, (list, tuple)) else "")


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names))
