"""Checks a file independently: plain onnxruntime against the module in eager torch, at many sizes and values."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from tests import outside
from tests.property.program import BEYOND, NEAR, Program, Sizes, make_inputs

Array = np.ndarray


@dataclasses.dataclass(frozen=True)
class Limits:
    """The limits of the file that the artifact reports.

    Attributes:
        smallest: Smallest size by dim.
        largest: Largest size by dim.
        steps: Number of which the size is a multiple, by dim.
    """

    smallest: Mapping[str, int]
    largest: Mapping[str, int]
    steps: Mapping[str, int]

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Limits:
        """Read the limits from a manifest: its ranges, its relations and the sentences of its notes."""
        notes = manifest["notes"]
        ranges = manifest.get("ranges", {})
        smallest = {dim: r["min"] for dim, r in ranges.items() if r.get("min") is not None}
        largest = {dim: r["max"] for dim, r in ranges.items() if r.get("max") is not None}
        steps = {}
        for relation in manifest.get("relations", ()):
            if found := re.fullmatch(r"(\S+) is a multiple of (\d+)", relation):
                steps[found[1]] = int(found[2])
        for note in notes:
            if found := re.match(r"(\S+) must be (\d+) or more", note):
                smallest[found[1]] = max(int(found[2]), smallest.get(found[1], 0))
        return cls(smallest, largest, steps)

    def allow(self, sizes: Mapping[str, int]) -> bool:
        """Whether the file must be right at these sizes of its dims."""
        return all(
            self.smallest.get(dim, 1) <= size <= self.largest.get(dim, size) and size % self.steps.get(dim, 1) == 0
            for dim, size in sizes.items()
        )


@dataclasses.dataclass(frozen=True)
class Wrong:
    """Inputs on which a file is wrong.

    Attributes:
        sizes: Their sizes.
        values: What their values are.
        problem: What is wrong.
        is_beyond: Whether the values are outside of what was observed.
    """

    sizes: Sizes
    values: str
    problem: str
    is_beyond: bool

    def __str__(self) -> str:
        return f"{self.values} at {', '.join(f'{k}={v}' for k, v in self.sizes.items())}: {self.problem}"


def judge(program: Program, module: nn.Module, path: Path, limits: Limits) -> list[Wrong]:
    """Return where a file is wrong within its limits.

    Args:
        program: What the module does.
        module: The module with its weights, in eval mode.
        path: The file.
        limits: What the file is known not to do.
    """
    session = outside.session(path)
    found: list[Wrong] = []
    for sizes in sizes_to_try(program):
        for values in (*NEAR, *BEYOND):
            inputs = make_inputs(program.takes, sizes, values, program.seed + 1)
            given = _dims(session, inputs)
            if given is None or not limits.allow(given):
                break  # the shapes are those of all values
            problem = compare(session, module, inputs)
            if problem:
                found.append(Wrong(sizes, values, problem, values in BEYOND))
    return found


def sizes_to_try(program: Program) -> Iterator[Sizes]:
    """Yield the observed sizes, and sizes below, between and above them."""
    first = program.observed[0]
    yield from program.observed
    for batch in (1, 2, 3, 5, 13, 17, 40):
        yield first | {"batch": batch}
    others = [dim for dim in first if dim != "batch"]
    lengths = (1, 2, 4, 7, 10, 13, 20, 34)
    for size in lengths if others else ():
        yield first | {dim: size + 3 * i for i, dim in enumerate(others)}
    for dim, size in itertools.product(others[1:], (5, 9, 14)):
        yield first | {dim: size, "batch": 2}


def _dims(session: onnxruntime.InferenceSession, inputs: Sequence[Tensor]) -> dict[str, int] | None:
    """Return the size of each dynamic dim of the file; None if a static dim has another size."""
    sizes: dict[str, int] = {}
    for declared, tensor in zip(session.get_inputs(), inputs, strict=True):
        for dim, size in zip(declared.shape, tensor.shape, strict=True):
            if isinstance(dim, str):
                if sizes.setdefault(dim, size) != size:
                    return None
            elif dim != size:
                return None
    return sizes


def compare(session: onnxruntime.InferenceSession, module: nn.Module, inputs: Sequence[Tensor]) -> str | None:
    """Return how a file differs from a module on some inputs; None if it does not, or if rounding explains it.

    Where the module changes as much as that when its inputs and weights change by rounding, there is no verdict.
    """
    try:
        expected = _run(module, inputs)
    except Exception:
        return None  # the module does not take these inputs
    feeds = {declared.name: t.numpy() for declared, t in zip(session.get_inputs(), inputs, strict=True)}
    try:
        actual = session.run(None, feeds)
    except Exception as error:
        return f"onnxruntime stops: {str(error).splitlines()[0][:200]}"
    if len(actual) != len(expected):
        return f"{len(actual)} outputs instead of {len(expected)}"
    changed: list[list[Array]] | None = None
    for index, (got, wanted) in enumerate(zip(actual, expected, strict=True)):
        if _difference(got, wanted, tolerance=1e-3) is None:
            continue
        if changed is None:
            changed = [_run_changed(module, inputs, seed) for seed in range(6)]
        problem = _beyond_rounding(got, wanted, [outputs[index] for outputs in changed])
        if problem:
            return f"output {index}: {problem}"
    return None


def _beyond_rounding(got: Array, wanted: Array, changed: Sequence[Array]) -> str | None:
    """Return what differs, unless the module itself changes as much."""
    if any(c.shape != wanted.shape for c in changed):
        return None
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return f"{got.dtype}{list(got.shape)} instead of {wanted.dtype}{list(wanted.shape)}"
    if wanted.dtype.kind != "f":
        is_stable = all((c == wanted).all() for c in changed)
        return f"{np.mean(got != wanted):.0%} of the integers differ" if is_stable else None
    finite = np.isfinite(wanted) & np.all([np.isfinite(c) for c in changed], axis=0)
    if (~np.isfinite(got) & finite).any():
        return f"{np.sum(~np.isfinite(got) & finite)} values are not finite"
    always = ~np.isfinite(wanted) & np.all([~np.isfinite(c) for c in changed], axis=0)
    if (np.isfinite(got) & always).any():
        return f"{np.sum(np.isfinite(got) & always)} values are finite, and the module's are not"
    both = finite & np.isfinite(got)
    if not both.any():
        return None
    difference = float(np.abs(got[both] - wanted[both]).max())
    own = max(float(np.abs(c[both] - wanted[both]).max()) for c in changed)
    scale = float(np.abs(wanted[both]).max())
    if difference <= max(10 * own, 1e-3 * scale):
        return None
    return f"differs by {difference:.3g}, where values reach {scale:.3g} and rounding explains {own:.3g}"


def _difference(got: Array, wanted: Array, tolerance: float) -> str | None:
    """Return whether two arrays differ, for whatever reason."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return "shape"
    if wanted.dtype.kind != "f":
        return None if (got == wanted).all() else "values"
    scale = float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0))
    same = np.allclose(got, wanted, rtol=0, atol=tolerance * scale, equal_nan=True)
    return None if same else "values"


def _run(module: nn.Module, inputs: Sequence[Tensor]) -> list[Array]:
    with torch.no_grad():
        return [t.numpy().copy() for t in tensors_of(module(*(t.clone() for t in inputs)))]


def _run_changed(module: nn.Module, inputs: Sequence[Tensor], seed: int) -> list[Array]:
    """Run with inputs, weights and the results of all functions changed by rounding.

    Half of the seeds also change inputs and weights by a little of their scale, which breaks ties and moves zeros; the
    others leave zeros as they are.
    """
    rounds = Rounds(seed)

    def change(t: Tensor) -> Tensor:
        if not t.is_floating_point() or not t.numel():
            return t.clone()
        around = rounds.rounded(t)
        return around if seed % 2 == 0 else around + 1e-7 * torch.randn(t.shape, generator=rounds.chance, dtype=t.dtype)

    weights = {name: change(p) for name, p in module.named_parameters()}
    changed = tuple(change(t) for t in inputs)
    with torch.no_grad(), rounds if seed % 3 else contextlib.nullcontext():
        result = torch.func.functional_call(module, weights, changed)
    return [t.numpy().copy() for t in tensors_of(result)]


class Rounds(TorchFunctionMode):
    """Changes the results of all functions of torch by rounding.

    Args:
        seed: Seed of the changes.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = torch.Generator().manual_seed(seed)

    def rounded(self, t: Tensor) -> Tensor:
        """Return floats changed by a few units in the last place."""
        noise = torch.rand(t.shape, generator=self.chance) * 2 - 1
        return t * (1 + 5e-7 * noise.to(t.real.dtype))

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function, and change its result."""
        if function.__name__ in _RANKING and args[0].is_floating_point():
            args = (args[0] + 1e-7 * torch.randn(args[0].shape, generator=self.chance), *args[1:])
        result = function(*args, **(kwargs or {}))
        if function.__name__ in _KEPT:
            return result
        if type(result) is tuple:  # of a recurrent layer
            return tuple(self._changed(t, function.__name__, args) for t in result)
        return self._changed(result, function.__name__, args)

    def _changed(self, result: Any, name: str, args: Any) -> Any:
        if not isinstance(result, Tensor) or not result.numel():
            return result
        if not (result.is_floating_point() or result.is_complex()):
            return result
        if name in _ZERO_WHERE_TINY:
            result = torch.where(result.abs() < 2e-8 * max(1.0, float(args[0].abs().max())), 0.0, result)
        return self.rounded(result)


_KEPT = ("__get__", "to", "float", "view", "reshape", "transpose", "flatten", "unsqueeze", "expand", "cat", "pad")
"""Functions that move or convert values, which all runtimes round in the same way."""

_RANKING = ("topk", "sort", "argsort", "argmax", "argmin")
"""Functions that choose among equal values, which another program may order differently."""

_ZERO_WHERE_TINY = ("sigmoid", "silu", "glu", "gru", "lstm")
"""Functions whose kernel in onnxruntime gives 0 instead of tiny numbers, as ``docs/limits.md`` says."""


def tensors_of(value: object) -> list[Tensor]:
    """Return the tensors of a nested result in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [t for v in value.values() for t in tensors_of(v)]
    if isinstance(value, (list, tuple)):
        return [t for v in value for t in tensors_of(v)]
    return []
