"""What the manifest says of the sizes that a runtime should expect: minimum, usual and maximum of each dynamic dim."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from lightning_onnx.manifest.fields import Fields, Plain
from lightning_onnx.module.calls.signature import Signature, TensorSpec


@dataclasses.dataclass(frozen=True)
class DimRange:
    """Sizes of a dynamic dim, for runtimes that are told them in advance.

    Attributes:
        min: The smallest that was observed; for the batch the smallest that the graph takes, by convention of runtimes.
        usual: The median of the observed calls.
        max: The largest that was observed.

    All of them are sizes at which the graph is correct.
    """

    min: int
    usual: int
    max: int

    @classmethod
    def read(cls, fields: Fields) -> DimRange:
        """Read the record from its JSON."""
        return cls(*(fields.required(key, int) for key in ("min", "usual", "max")))

    def to_dict(self) -> Plain:
        """Return the JSON of the record."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class InputRange:
    """The shapes of one input.

    Attributes:
        name: Its name.
        min: The smallest shape.
        usual: The usual shape.
        max: The largest shape.
    """

    name: str
    min: tuple[int, ...]
    usual: tuple[int, ...]
    max: tuple[int, ...]


def input_ranges(
    signature: Signature, dims: Mapping[str, DimRange], traced: Mapping[str, Sequence[int]]
) -> tuple[InputRange, ...]:
    """Return the shapes of the inputs that have a dynamic dim.

    Args:
        signature: The inputs.
        dims: The sizes of the dynamic dims; a manifest of format 1 has none.
        traced: Shapes of the traced call, which are used where nothing else is known.
    """
    found = []
    for spec in signature.inputs:
        if not any(isinstance(dim, str) for dim in spec.shape):
            continue
        sizes = [_sizes(spec, axis, dims, traced) for axis in range(len(spec.shape))]
        found.append(InputRange(spec.name, *(tuple(getattr(s, end) for s in sizes) for end in ("min", "usual", "max"))))
    return tuple(found)


def _sizes(spec: TensorSpec, axis: int, dims: Mapping[str, DimRange], traced: Mapping[str, Sequence[int]]) -> DimRange:
    dim = spec.shape[axis]
    if isinstance(dim, int):
        return DimRange(dim, dim, dim)
    shape = traced.get(spec.name, ())
    size = shape[axis] if axis < len(shape) else 1
    return dims.get(dim, DimRange(size, size, size))
