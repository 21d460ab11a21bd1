"""Records which tensor values a method reads into Python while it runs, and which branches it takes."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Hashable, Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lightning_onnx.errors import EndlessLoop
from lightning_onnx.module.decisions.branches import Branch, BranchRecorder
from lightning_onnx.module.decisions.fixed import FixedTensors
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.user_code import deciding_frame, is_users, line_of

READS: Mapping[str, str] = {
    "__bool__": "bool() of a tensor",
    "is_nonzero": "bool() of a tensor",
    "equal": "torch.equal",
    "allclose": "torch.allclose",
    "is_same_size": "torch.is_same_size",
    "__contains__": "'in' with a tensor",
    "item": ".item()",
    "__int__": "int() of a tensor",
    "__float__": "float() of a tensor",
    "__complex__": "complex() of a tensor",
    "__index__": "a tensor as an index",
    "tolist": ".tolist()",
    "numpy": ".numpy()",
    "__array__": "numpy() of a tensor",
    "__dlpack__": "DLPack of a tensor",
    "__format__": "a tensor in a string",
}
"""Torch's functions that read a value of a tensor, and how notes describe the read."""

WITHOUT_WARNING = frozenset(
    READS[name]
    for name in ("equal", "allclose", "is_same_size", "__contains__", "__array__", "__dlpack__", "__format__")
)
"""Reads that torch performs during a TorchScript trace without a warning that names the user's line."""

_SIZED_BY_VALUES = frozenset(
    {"nonzero", "argwhere", "masked_select", "unique", "unique_consecutive", "repeat_interleave", "bincount", "nms"}
)
"""Functions of torch and torchvision whose result size depends on values."""

_FEW_BRANCHES = 10_000
"""Branches that a call may take on any inputs."""

_TIMES = 20
"""How many times as many branches as on observed inputs a call may take."""


@dataclasses.dataclass(frozen=True, order=True)
class Site:
    """A place in the user's code where a tensor value is read into Python.

    Attributes:
        where: ``file:line``.
        what: How it is read, see ``READS``.
    """

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where} ({self.what})"


@dataclasses.dataclass(frozen=True)
class Decisions:
    """The decisions of one call of a method.

    Attributes:
        reads: The values that were read at each site, in order.
        branches: The branches taken, in order.
        conditions: The truth values that each condition had, by site and column.
        followed: Sites after which the call took a branch, which may depend on what was read.
        has_value_sizes: Whether the size of a tensor depended on values.
        raised: File and function of the user's code that raised; None if the call returned.
        steps: How often each loop began another step, by ``file:line`` of the loop.
        is_endless: Whether the call was ended because a loop did not end; ``raised`` is then not None.
        fixed: Sites at which only values were read that are made from numbers and sizes.
    """

    reads: Mapping[Site, tuple[Hashable, ...]]
    branches: tuple[Branch, ...]
    conditions: Mapping[tuple[Site, int], frozenset[bool]]
    followed: frozenset[Site] = frozenset()
    has_value_sizes: bool = False
    raised: tuple[str, str] | None = None
    steps: Mapping[str, int] = dataclasses.field(default_factory=dict)
    is_endless: bool = False
    fixed: frozenset[Site] = frozenset()

    def sites(self) -> tuple[Site, ...]:
        """Return the sites at which values were read, in order."""
        return tuple(self.reads)

    def flipped_lines(self, other: Decisions) -> frozenset[str]:
        """Return the lines at which another call took another branch; only lines that both calls reached.

        Args:
            other: The decisions on other inputs of the same sizes.
        """
        mine, theirs = _by_line(self.branches), _by_line(other.branches)
        return frozenset(line for line in mine.keys() & theirs.keys() if mine[line] != theirs[line])

    def differing(self, other: Decisions) -> frozenset[Site]:
        """Return the sites that both calls reached, and at which they read different values."""
        both = self.reads.keys() & other.reads.keys()
        return frozenset(site for site in both if self.reads[site] != other.reads[site])

    def uneven_loops(self, other: Decisions) -> frozenset[str]:
        """Return ``file:line`` of the loops that both calls reached and that took another number of steps.

        Args:
            other: The decisions on other inputs of the same sizes.
        """
        reached = _by_line(self.branches).keys() & _by_line(other.branches).keys()
        both = (self.steps.keys() | other.steps.keys()) & reached
        return frozenset(loop for loop in both if self.steps.get(loop) != other.steps.get(loop))

    def is_condition(self, site: Site) -> bool:
        """Whether only booleans were read at a site."""
        return all(isinstance(value, bool) for value in self.reads[site])


def record(flat: FlatModule, tensors: Sequence[Tensor], known: Decisions | None = None) -> Decisions:
    """Run the method, and return its decisions; an error that it raises is recorded too.

    Args:
        flat: The module.
        tensors: Its inputs.
        known: The decisions on observed inputs of about the same size. A loop that runs much longer is ended; without
            it, none is.
    """
    limit = None if known is None else _FEW_BRANCHES + _TIMES * len(known.branches)
    branches, raised, is_endless = BranchRecorder(limit), None, False
    reads = ReadRecorder(branches.branches)
    try:
        with reads, branches:
            flat.outputs(tensors)
    except Exception as error:  # a module may refuse an input with any exception
        raised, is_endless = _raised_at(error.__traceback__), isinstance(error, EndlessLoop)
    found = {site: tuple(values) for site, values in reads.found.items()}
    conditions = _conditions(reads.read, branches.branches)
    followed = frozenset(site for site, _, number in reads.read if number < len(branches.branches))
    taken, steps = tuple(branches.branches), dict(branches.steps)
    return Decisions(found, taken, conditions, followed, reads.has_value_sizes, raised, steps, is_endless, reads.fixed)


class ReadRecorder(TorchFunctionMode):
    """Records each tensor value that is read into Python, with the line of the user's code that reads it.

    Args:
        branches: The branches recorded at the same time.

    Attributes:
        found: The values by site.
        read: Each value with its site, and the number of branches before it.
        has_value_sizes: Whether the size of a tensor depended on values.
        decided: Sites at which a value was read that may depend on those of inputs and weights.
    """

    def __init__(self, branches: Sequence[Branch]) -> None:
        super().__init__()
        self.branches = branches
        self.found: dict[Site, list[Hashable]] = {}
        self.read: list[tuple[Site, Hashable, int]] = []
        self.has_value_sizes = False
        self.decided: set[Site] = set()
        self._fixed = FixedTensors()

    @property
    def fixed(self) -> frozenset[Site]:
        """The sites at which only values were read that are made from numbers and sizes."""
        return frozenset(self.found) - self.decided

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call the function, and record its result if it is a value."""
        name = getattr(func, "__name__", "")
        result, is_fixed = self._fixed.called(func, name, *args, **(kwargs or {}))
        is_fixed = is_fixed and not (self.decided or self.has_value_sizes)
        if name in READS:
            frame = deciding_frame(sys._getframe(1))
            if frame is not None:
                site = Site(line_of(frame), READS[name])
                value = _plain(args[0].detach().numpy() if name == "__dlpack__" else result)
                self.found.setdefault(site, []).append(value)
                self.read.append((site, value, len(self.branches)))
                if not is_fixed:
                    self.decided.add(site)
        elif not is_fixed and (name in _SIZED_BY_VALUES or _selects(name, args, kwargs or {})):
            self.has_value_sizes = True
        return result


def _plain(value: object) -> Hashable:
    """Return a value in a form that can be compared: NaN equals NaN."""
    if isinstance(value, bool):
        return value
    return (value.shape, value.tobytes()) if isinstance(value, np.ndarray) else repr(value)


def _selects(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Tell whether a call takes what a mask selects: ``x[mask]``, or ``torch.where`` with only a condition."""
    return (name == "__getitem__" and _has_mask(args[1:])) or (name == "where" and len(args) + len(kwargs) == 1)


def _has_mask(indices: tuple[Any, ...]) -> bool:
    index = indices[0] if indices else None
    parts = index if isinstance(index, tuple) else (index,)
    return any(isinstance(part, Tensor) and part.dtype == torch.bool for part in parts)


def _by_line(branches: Sequence[Branch]) -> dict[str, list[tuple[int, int]]]:
    found: dict[str, list[tuple[int, int]]] = {}
    for line, _, at, then in branches:
        found.setdefault(line, []).append((at, then))
    return found


def _conditions(
    read: Sequence[tuple[Site, Hashable, int]], branches: Sequence[Branch]
) -> dict[tuple[Site, int], frozenset[bool]]:
    """For each condition, find the branch that follows it on its line; a line may hold several conditions."""
    found: dict[tuple[Site, int], frozenset[bool]] = {}
    for site, value, number in read:
        if isinstance(value, bool):
            following = branches[number] if number < len(branches) else None
            column = following[1] if following is not None and following[0] == site.where else -1
            found[site, column] = found.get((site, column), frozenset()) | {value}
    return found


def _raised_at(traceback: TracebackType | None) -> tuple[str, str] | None:
    """Return the file and function of the innermost user frame in a traceback."""
    found = None
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if is_users(code.co_filename):
            found = (line_of(traceback.tb_frame).rpartition(":")[0], code.co_qualname)
        traceback = traceback.tb_next
    return found
