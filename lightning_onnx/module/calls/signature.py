"""The signature of a graph: names, dtypes and dims of its inputs and outputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

BATCH = "batch"


@dataclasses.dataclass(frozen=True)
class SizeRange:
    """Sizes of a dynamic dim at which a graph is correct.

    Attributes:
        min: The smallest size.
        max: The largest size; None if no limit was found.
        step: Sizes are multiples of this number; reported as a relation.

    Example:
        >>> str(SizeRange(1, 16)), str(SizeRange(32)), 17 in SizeRange(1, 16), 7 in SizeRange(step=2)
        ('1 to 16', '32 or more', False, False)
    """

    min: int = 1
    max: int | None = None
    step: int = 1

    def __contains__(self, size: int) -> bool:
        """Tell whether a size is within the limits, and a multiple of the step."""
        return self.min <= size and (self.max is None or size <= self.max) and size % self.step == 0

    @property
    def is_limited(self) -> bool:
        """Whether there is a minimum above 1, or a maximum."""
        return self.min > 1 or self.max is not None

    def __str__(self) -> str:
        return f"{self.min} or more" if self.max is None else f"{self.min} to {self.max}"


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: Its name in the graph.
        dtype: Element type, named as in numpy (``"float32"``), or ``"bfloat16"``.
        shape: One entry for each dim: its size, or its name if it is dynamic.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a graph.

    Attributes:
        inputs: The inputs in the graph's order.
        outputs: The outputs in the graph's order.
        relations: Conditions on sizes, in words ("tokens_dim_1 is a multiple of 8").
        ranges: For each dynamic dim with a limit, the sizes at which the graph is correct.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    relations: tuple[str, ...] = ()
    ranges: Mapping[str, SizeRange] = dataclasses.field(default_factory=dict)

    @property
    def conditions(self) -> tuple[str, ...]:
        """All conditions on sizes, in words: the relations, and the ranges ("batch: 1 to 16")."""
        limited = {name: sizes for name, sizes in self.ranges.items() if sizes.is_limited}
        return (*self.relations, *(f"{name}: {sizes}" for name, sizes in limited.items()))

    @property
    def dynamic(self) -> tuple[str, ...]:
        """Names of the inputs' dynamic dims, in order of appearance."""
        return tuple(dict.fromkeys(dim for spec in self.inputs for dim in spec.shape if isinstance(dim, str)))

    @property
    def batch(self) -> str | None:
        """Name of the batch dim: ``"batch"``, or else a dim named by the user that is the first of every input."""
        if BATCH in self.dynamic:
            return BATCH
        leading = {spec.shape[0] for spec in self.inputs if spec.shape}
        derived = {f"{spec.name}_dim_0" for spec in self.inputs}
        name = leading.pop() if len(leading) == 1 else None
        return name if isinstance(name, str) and name not in derived else None

    def batch_axes(self) -> dict[str, int | None]:
        """Return the index of each input's batch dim by input name; None for an input without one."""
        return {s.name: s.shape.index(self.batch) if self.batch in s.shape else None for s in self.inputs}

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.inputs))}) -> ({', '.join(map(str, self.outputs))})"
