"""Reads the fields of a JSON object, and names the field that is missing or has the wrong type."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from lightning_onnx.errors import ArtifactError

T = TypeVar("T")

Plain = dict[str, Any]
"""A JSON object: text, numbers, booleans, None, and lists and objects of these."""

_NAMES: dict[type, str] = {
    str: "text",
    int: "an integer",
    float: "a number",
    list: "a list",
    dict: "an object",
    type(None): "null",
}


class Fields:
    """The fields of one object of a manifest; unknown ones are ignored.

    Args:
        value: The object.
        place: Where it is in the manifest, such as ``"source.paths"``; empty for the manifest itself.

    Raises:
        ArtifactError: If ``value`` is not an object.
    """

    def __init__(self, value: object, place: str = "") -> None:
        self.values: Plain = _checked(value, dict, place)
        self.place = place

    def required(self, key: str, kind: type[T]) -> T:
        """Return a field's value.

        Args:
            key: The field.
            kind: Its type; ``float`` accepts integers too.

        Raises:
            ArtifactError: If it is missing or has another type.
        """
        if key not in self.values:
            raise ArtifactError(f"the manifest is invalid: {self._place(key)} is missing. Export again.")
        return _checked(self.values[key], kind, self._place(key))

    def optional(self, key: str, kind: type[T]) -> T | None:
        """Return a field's value, None if it is missing or null; otherwise as ``required``."""
        return None if self.values.get(key) is None else self.required(key, kind)

    def name(self, key: str) -> str:
        """Return a required field's value, which must be a name as in Python: it may come to stand in code."""
        value = self.required(key, str)
        if not value.isidentifier():
            raise ArtifactError(
                f"the manifest is invalid: {self._place(key)} is {value!r}, expected a name. Export again."
            )
        return value

    def one_of(self, key: str, allowed: tuple[T, ...]) -> T:
        """Return a required field's value, which must be one of those given."""
        for value in allowed:
            if value == self.values.get(key):
                return value
        raise ArtifactError(
            f"the manifest is invalid: {self._place(key)} is {self.values.get(key)!r}, expected one of {allowed}. "
            "Export again."
        )

    def items(self, key: str, kind: type[T]) -> tuple[T, ...]:
        """Return a list whose items all have one type; empty if the field is missing."""
        return _each(self.optional(key, list) or [], kind, self._place(key))

    def by_name(self, key: str, kind: type[T]) -> dict[str, T]:
        """Return an object whose values all have one type; empty if the field is missing."""
        found = self.optional(key, dict) or {}
        return {name: _checked(value, kind, f"{self._place(key)}.{name}") for name, value in found.items()}

    def lists_by_name(self, key: str, kind: type[T]) -> dict[str, tuple[T, ...]]:
        """Return an object whose values are lists, all of one type; empty if the field is missing."""
        lists = self.by_name(key, list)
        return {name: _each(values, kind, f"{self._place(key)}.{name}") for name, values in lists.items()}

    def shape(self, key: str) -> tuple[int | str, ...]:
        """Return a required list of sizes and names of dims."""
        sizes = self.required(key, list)
        return tuple(
            dim if isinstance(dim, str) else _checked(dim, int, f"{self._place(key)}[{i}]")
            for i, dim in enumerate(sizes)
        )

    def objects(self, key: str, *, required: bool = False) -> tuple[Fields, ...]:
        """Return a list of objects; empty if the field is missing, unless it is required."""
        found = self.required(key, list) if required else self.optional(key, list) or []
        return tuple(Fields(value, f"{self._place(key)}[{i}]") for i, value in enumerate(found))

    def objects_by_name(self, key: str) -> dict[str, Fields]:
        """Return an object of objects; empty if the field is missing."""
        return {name: Fields(value, f"{self._place(key)}.{name}") for name, value in self.by_name(key, dict).items()}

    def object(self, key: str) -> Fields:
        """Return a required object."""
        return Fields(self.required(key, dict), self._place(key))

    def optional_object(self, key: str) -> Fields | None:
        """Return an object, None if the field is missing or null."""
        return None if self.values.get(key) is None else self.object(key)

    def _place(self, key: str) -> str:
        return f"{self.place}.{key}" if self.place else key


def plain(record: Any) -> Plain:
    """Return the JSON of a dataclass whose fields are plain values and tuples of them."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(record).items()}


def _each(values: list[object], kind: type[T], place: str) -> tuple[T, ...]:
    return tuple(_checked(value, kind, f"{place}[{i}]") for i, value in enumerate(values))


def _checked(value: object, kind: type[T], place: str) -> T:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted):
        expected = _NAMES.get(kind, kind.__name__)
        found = repr(value) if isinstance(value, (str, int, float)) else _NAMES.get(type(value), type(value).__name__)
        raise ArtifactError(
            f"the manifest is invalid: {place or 'its JSON'} is {found}, expected {expected}. Export again."
        )
    return value  # type: ignore[return-value]  # an integer where a number is expected
