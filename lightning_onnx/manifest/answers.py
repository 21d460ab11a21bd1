"""What the manifest says of answers beside their targets, and of answers of module and file side by side."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from lightning_onnx.errors import ArtifactError
from lightning_onnx.manifest.fields import Fields, Plain

Counts = tuple[tuple[int, ...], ...]
Rows = tuple[tuple[float | None, ...], ...]
_VALUES = (int, float, type(None))


@dataclasses.dataclass(frozen=True)
class Residuals:
    """Differences of answers from their targets, counted in bins of equal width.

    Attributes:
        targets: Lower and upper limit of the targets; rounded.
        differences: Lower and upper limit of answer minus target; rounded.
        counts: Number of values by bin of the difference, ascending, and bin of the target, ascending.
    """

    targets: tuple[float, float]
    differences: tuple[float, float]
    counts: Counts


@dataclasses.dataclass(frozen=True)
class Answers:
    """How answers relate to their targets in the batches of a validation loop; one of the two is known.

    Attributes:
        confusion: Number of samples by class of the target and class of the answer; empty for other answers.
        residuals: Differences of floats from their targets, None for other answers.
    """

    confusion: Counts = ()
    residuals: Residuals | None = None

    @classmethod
    def find(cls, figures: Plain, name: str) -> Answers | None:
        """Return what a check's figures say of the answers of ``"module"`` or ``"file"``; None if nothing that fits."""
        try:
            found = Fields(figures, "figures").objects_by_name("answers").get(name)
            if found is None:
                return None
            confusion = _table(found, "confusion", (int,))
            own = found.optional_object("residuals")
            residuals = None
            if own is not None:
                residuals = Residuals(_pair(own, "targets"), _pair(own, "differences"), _table(own, "counts", (int,)))
        except ArtifactError:
            return None
        is_square = all(len(row) == len(confusion) for row in confusion)
        return cls(confusion, residuals) if is_square and (confusion or residuals) else None

    def to_dict(self) -> Plain:
        """Return the JSON of the record."""
        if self.residuals is None:
            return {"confusion": [list(row) for row in self.confusion]}
        own = self.residuals
        counts = [list(row) for row in own.counts]
        return {"residuals": {"targets": list(own.targets), "differences": list(own.differences), "counts": counts}}


def _table(fields: Fields, key: str, kinds: tuple[type, ...]) -> tuple[tuple[Any, ...], ...]:
    """Return rows of values, each of which has one of some types; true and false are not integers."""
    rows = fields.items(key, list)
    if any(type(value) not in kinds for row in rows for value in row):
        raise ArtifactError(f"the manifest is invalid: {fields.place}.{key} is not a table of numbers. Export again.")
    return tuple(map(tuple, rows))


def _pair(fields: Fields, key: str) -> tuple[float, float]:
    found = fields.items(key, float)
    if len(found) != 2 or found[0] >= found[1]:
        raise ArtifactError(f"the manifest is invalid: {key} is {found}, expected two ascending numbers. Export again.")
    return found[0], found[1]


@dataclasses.dataclass(frozen=True)
class Samples:
    """Answers of module and file for the first rows of the test data.

    Attributes:
        outputs: For each output the rows of the module and those of the file; None stands for NaN and infinities.
        images: The input of each row as a PNG in base64; empty unless it is an image and real values were asked for.
    """

    outputs: Mapping[str, tuple[Rows, Rows]] = dataclasses.field(default_factory=dict)
    images: tuple[str, ...] = ()

    @classmethod
    def read(cls, fields: Fields) -> Samples:
        """Read the record from its JSON."""
        outputs = {
            name: (_table(own, "module", _VALUES), _table(own, "file", _VALUES))
            for name, own in fields.objects_by_name("outputs").items()
        }
        return cls(outputs, fields.items("images", str))

    def to_dict(self) -> Plain:
        """Return the JSON of the record."""
        outputs = {
            name: {"module": [list(row) for row in module], "file": [list(row) for row in file]}
            for name, (module, file) in self.outputs.items()
        }
        return {"outputs": outputs, "images": list(self.images)}
