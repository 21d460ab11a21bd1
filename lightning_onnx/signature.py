"""The graph's inputs and outputs: names, dtypes, static and dynamic dims; derived, then overridden by configuration."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.observe import Observation, Sample
from lightning_onnx.structure import Path

Axes = tuple[dict[int, str], ...]
"""For each input the names of its dynamic dims by position."""

Call = Callable[[Sequence[Tensor]], "list[Tensor] | None"]
"""Runs the module on flat tensors; None where it does not take them."""

BATCH = "batch"
_MAX_ASSIGNMENTS = 32


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph.

    Attributes:
        name: Its name in the graph.
        dtype: Element type, as numpy names it (``"float32"``; ``"bfloat16"`` as torch does).
        shape: One entry a dim: its size, or its name where it is dynamic.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a graph takes and gives.

    Attributes:
        inputs: The inputs in the graph's order.
        outputs: The outputs in the graph's order.
        relations: What sizes must keep ("tokens_dim_1 is a multiple of 8"), for people.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    relations: tuple[str, ...] = ()

    @property
    def dynamic(self) -> tuple[str, ...]:
        """Names of the inputs' dynamic dims, in order of appearance."""
        return tuple(dict.fromkeys(dim for spec in self.inputs for dim in spec.shape if isinstance(dim, str)))

    @property
    def batch(self) -> str | None:
        """Name of the dim that is the batch: the one called so, else one that was named and leads every input."""
        if BATCH in self.dynamic:
            return BATCH
        leading = {spec.shape[0] for spec in self.inputs if spec.shape}
        derived = {f"{spec.name}_dim_0" for spec in self.inputs}
        name = leading.pop() if len(leading) == 1 else None
        return name if isinstance(name, str) and name not in derived else None

    def batch_axes(self) -> dict[str, int | None]:
        """Return by input the dim that is the batch, None where it has none."""
        return {s.name: s.shape.index(self.batch) if self.batch in s.shape else None for s in self.inputs}

    def __str__(self) -> str:
        return f"({', '.join(map(str, self.inputs))}) -> ({', '.join(map(str, self.outputs))})"


@dataclasses.dataclass(frozen=True)
class Request:
    """What the graph is asked to be.

    Attributes:
        sample: The call that is traced.
        tensors: Its tensors at the sizes that are traced: a batch of 2, other dims as observed.
        input_names: Names of the inputs.
        output_names: Names of the outputs.
        axes: The dynamic dims of each input.
        seen: For each dynamic dim the sizes that were observed.
        samples: Further observed calls of the same structure.
        output_paths: Where each output stands in the method's result.
    """

    sample: Sample
    tensors: tuple[Tensor, ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    axes: Axes
    seen: Mapping[str, tuple[int, ...]]
    samples: tuple[Sample, ...]
    output_paths: tuple[Path, ...] = ()

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dynamic dims, in order of appearance."""
        return tuple(dict.fromkeys(name for axes in self.axes for name in axes.values()))

    def sizes(self, tensors: Sequence[Tensor]) -> dict[str, int]:
        """Return the size of each dynamic dim in ``tensors``."""
        return {name: tensors[i].shape[d] for i, axes in enumerate(self.axes) for d, name in axes.items()}

    def fits(self, tensors: Sequence[Tensor]) -> bool:
        """Tell whether ``tensors`` have the traced ones' sizes wherever a dim is static."""
        return self.fits_shapes([t.shape for t in tensors])

    def fits_shapes(self, shapes: Sequence[Sequence[int]]) -> bool:
        """Tell the same of the tensors' shapes."""
        return all(
            shape[d] == size or d in axes
            for shape, traced, axes in zip(shapes, self.tensors, self.axes, strict=True)
            for d, size in enumerate(traced.shape)
        )

    def resized(self, sizes: Mapping[str, int]) -> tuple[Tensor, ...]:
        """Return the traced tensors with their dynamic dims at other ``sizes``, values repeated or cut."""
        return resize(self.tensors, self.axes, sizes)

    def static(self, names: Sequence[str]) -> Request:
        """Return the same request with these dims static at the size of the observed call."""
        observed = self.sizes(self.sample.tensors)
        tensors = self.resized({name: observed[name] for name in names})
        axes = tuple({d: n for d, n in axes.items() if n not in names} for axes in self.axes)
        return dataclasses.replace(self, tensors=tensors, axes=axes)


def resize(tensors: Sequence[Tensor], axes: Axes, sizes: Mapping[str, int]) -> tuple[Tensor, ...]:
    """Cut or repeat ``tensors`` along their named dims: real values at other sizes, so that token ids stay valid.

    Integers that rise keep rising: offsets and graph numbers have no meaning out of order.
    """
    resized = []
    for tensor, named in zip(tensors, axes, strict=True):
        for dim, name in named.items():
            if name in sizes and tensor.shape[dim] not in (0, sizes[name]):
                index = torch.arange(sizes[name]) % tensor.shape[dim]
                if _rises(tensor, dim):
                    index = index.sort().values
                tensor = tensor.index_select(dim, index)
        resized.append(tensor.contiguous())
    return tuple(resized)


def _rises(tensor: Tensor, dim: int) -> bool:
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        return False
    steps = tensor.diff(dim=dim)
    return bool((steps >= 0).all() and (steps > 0).any())


def pointed_at(tensors: Sequence[Tensor], axes: Axes) -> set[str]:
    """Return the dims that another input's numbers may point into (graph numbers, regions of images, offsets).

    Fewer entries than were observed would let them point behind the end, which not every kernel checks. Numbers point
    where they are whole, not negative, below the size, and more than a mask's zeros and ones.

    Example:
        >>> images, regions = torch.zeros(4, 3), torch.tensor([[0.0, 7.5], [2.0, 1.5]])
        >>> pointed_at((images, regions), ({0: "batch"}, {0: "regions"}))
        {'batch'}
    """
    sizes = {name: t.shape[d] for t, named in zip(tensors, axes, strict=True) for d, name in named.items()}
    return {
        name
        for name, size in sizes.items()
        for t, named in zip(tensors, axes, strict=True)
        if name not in named.values() and _points(t, size)
    }


def kept_whole(tensors: Sequence[Tensor], axes: Axes) -> set[str]:
    """Return the dims of which the first few entries say too little: those that are pointed at, and grouped ones.

    Example:
        >>> nodes, graph = torch.zeros(5, 3), torch.tensor([0, 0, 1, 1, 2])
        >>> kept_whole((nodes, graph), ({0: "nodes"}, {0: "nodes"}))
        {'nodes'}
    """
    grouped = {name for t, named in zip(tensors, axes, strict=True) for name in named.values() if _groups(t)}
    return pointed_at(tensors, axes) | grouped


def _groups(tensor: Tensor) -> bool:
    """Tell whether numbers say which rows belong together (a graph's number for each node): few rows are one group."""
    if tensor.dim() != 1 or not _rises(tensor, 0):
        return False
    steps = tensor.diff()
    return bool(tensor[0] == 0 and steps.max() == 1 and (steps == 0).any())


def _points(tensor: Tensor, size: int) -> bool:
    if tensor.dtype == torch.bool or tensor.is_complex() or not 0 < tensor.dim() < 3 or not tensor.numel():
        return False
    columns = tensor if tensor.dim() == 2 and tensor.is_floating_point() else tensor.reshape(-1, 1)
    points = (columns >= 0) & (columns < size) & (columns == columns.round())
    return bool((points.all(0) & (columns.amax(0) >= 2)).any())


def derive(
    observation: Observation,
    call: Call,
    output_paths: Callable[[], Sequence[Path]],
    *,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: Any = "auto",
) -> Request:
    """Derive what to ask of the engines from the calls that were seen.

    A dim is dynamic that differed between calls, and so is the batch dim: the dim of the loader's batch size that the
    module takes at another size as well, giving the same rows. Dims of the same sizes in all calls share one name.

    Args:
        observation: The calls; the first sample's structure is that of the graph.
        call: Runs the module on flat tensors, None where it does not take them.
        output_paths: Gives the paths of the tensors in the result of the last call.
        input_names: Names to use instead of the derived ones.
        output_names: Names to use instead of the derived ones.
        dynamic_axes: ``"auto"``, or as in ``torch.onnx.export``.

    Raises:
        ConfigurationError: If the names or axes asked for do not fit the tensors.
    """
    sample = observation.samples[0]
    names = _chosen_names("input", input_names, name_paths(sample.paths, "input"))
    if dynamic_axes == "auto":
        axes, seen = _derive_axes(observation, names, call)
    else:
        axes = _asked_axes(dynamic_axes or {}, names, sample.tensors)
        seen = {}
        for i, named in enumerate(axes):
            for d, name in named.items():
                seen[name] = tuple(sorted({shapes[i][d] for shapes, _ in observation.shapes}))
    tensors = _traced_tensors(observation.samples, axes, call)
    paths = tuple(output_paths())
    outputs = _chosen_names("output", output_names, name_paths(paths, "output", taken=names))
    return Request(sample, tensors, names, outputs, axes, seen, observation.samples, paths)


def _traced_tensors(samples: Sequence[Sample], axes: Axes, call: Call) -> tuple[Tensor, ...]:
    """A small batch is traced, so that preparing is cheap and the file does not depend on the loader's batch size."""
    first = samples[0].tensors
    names = {name for named in axes for name in named.values()} - kept_whole(first, axes)
    sizes = {BATCH: 2} if BATCH in names else {}
    singles = {n: 2 for i, named in enumerate(axes) for d, n in named.items() if first[i].shape[d] == 1}
    for wanted in (sizes | singles, sizes):
        tensors = resize(first, axes, wanted)
        if wanted and call(tensors) is not None:
            return tensors
    call(first)
    return tuple(t.contiguous() for t in first)


def few_rows(observation: Observation) -> tuple[Tensor, ...]:
    """Return the first sample cut to two rows where its tensors look like a batch: a guess, confirmed by a call."""
    tensors = observation.samples[0].tensors
    guess: Axes = tuple(dict.fromkeys(_candidates(observation, i)[:1], BATCH) for i in range(len(tensors)))
    return tensors if kept_whole(tensors, guess) else resize(tensors, guess, {BATCH: 2})


# Names --------------------------------------------------------------------------------------------------------------


def name_paths(paths: Sequence[Path], default: str, taken: Sequence[str] = ()) -> tuple[str, ...]:
    """Name tensors by where they stand: keys joined by ``_``, indices behind ``default``, no name twice.

    Example:
        >>> name_paths([("logits",), ("hidden", "0"), ("hidden", "1")], "output")
        ('logits', 'hidden_0', 'hidden_1')
        >>> name_paths([()], "output"), name_paths([("0",), ("1",)], "output")
        (('output',), ('output_0', 'output_1'))
    """
    names: list[str] = []
    for path in paths:
        parts = path if path and not path[0].isdigit() else (default, *path)
        name = re.sub(r"[^0-9A-Za-z_.]", "_", "_".join(parts))
        unique = name if name not in taken else f"{name}_{default}"
        for number in itertools.count(1):
            if unique not in names and unique not in taken:
                break
            unique = f"{name}_{number}"
        names.append(unique)
    return tuple(names)


def _chosen_names(kind: str, asked: Sequence[str] | None, derived: tuple[str, ...]) -> tuple[str, ...]:
    if asked is None:
        return derived
    if len(asked) != len(derived):
        raise ConfigurationError(
            f"{kind}_names has {len(asked)} names {list(asked)}, and the graph has {len(derived)} {kind}s "
            f"{list(derived)}. Give one name for each {kind}, in this order."
        )
    return tuple(asked)


def _asked_axes(asked: Mapping[str, Any], names: tuple[str, ...], tensors: Sequence[Tensor]) -> Axes:
    axes: list[dict[int, str]] = [{} for _ in names]
    for name, dims in asked.items():
        if name not in names:
            continue  # an output, looked at when the outputs are known
        index = names.index(name)
        rank = tensors[index].dim()
        named = dims if isinstance(dims, Mapping) else {d: f"{name}_dim_{d}" for d in dims}
        for dim, dim_name in named.items():
            if not -rank <= dim < rank:
                raise ConfigurationError(
                    f"dynamic_axes names axis {dim} of input '{name}', whose shape {tuple(tensors[index].shape)} has "
                    f"{rank} axes. Name an axis from 0 to {rank - 1}."
                )
            axes[index][dim % rank] = dim_name
    return tuple(axes)


def check_axes_names(dynamic_axes: Any, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Raise where ``dynamic_axes`` names a tensor that the graph does not have.

    Raises:
        ConfigurationError: If a name is neither an input nor an output.
    """
    if not isinstance(dynamic_axes, Mapping):
        return
    unknown = [name for name in dynamic_axes if name not in (*inputs, *outputs)]
    if unknown:
        raise ConfigurationError(
            f"dynamic_axes names {unknown}, and the graph has the inputs {list(inputs)} and the outputs "
            f"{list(outputs)}. Use these names, or set input_names."
        )


# Dynamic dims -------------------------------------------------------------------------------------------------------


def _derive_axes(
    observation: Observation, names: tuple[str, ...], call: Call
) -> tuple[Axes, dict[str, tuple[int, ...]]]:
    tensors = observation.samples[0].tensors
    all_shapes = [shapes for shapes, _ in observation.shapes]
    batch = _batch_axes(observation, call)
    groups: list[tuple[tuple[int, ...], str, set[tuple[int, int]]]] = []
    batch_vectors = {_vector(all_shapes, i, d) for i, d in enumerate(batch) if d is not None}
    members: list[tuple[int, int, tuple[int, ...], bool]] = []
    for i, tensor in enumerate(tensors):
        for d in range(tensor.dim()):
            vector = _vector(all_shapes, i, d)
            is_batch = batch[i] == d or (batch[i] is None and len(set(vector)) > 1 and vector in batch_vectors)
            if is_batch or len(set(vector)) > 1:
                members.append((i, d, vector, is_batch))
    axes: list[dict[int, str]] = [{} for _ in tensors]
    for i, d, vector, is_batch in members:
        if is_batch and BATCH not in axes[i].values():
            axes[i][d] = BATCH
            continue
        same = [g for g in groups if g[0] == vector and all(member[0] != i for member in g[2])]
        same.sort(key=lambda g: all(member[1] != d for member in g[2]))
        group = same[0] if same else (vector, f"{names[i]}_dim_{d}", set())
        if not same:
            groups.append(group)
        group[2].add((i, d))
        axes[i][d] = group[1]
    seen = {name: tuple(sorted(set(vector))) for vector, name, _ in groups}
    for vector in batch_vectors:
        seen[BATCH] = tuple(sorted(set(vector) | set(seen.get(BATCH, ()))))
    return tuple(axes), seen


def _vector(all_shapes: Sequence[tuple[tuple[int, ...], ...]], tensor: int, dim: int) -> tuple[int, ...]:
    return tuple(shapes[tensor][dim] for shapes in all_shapes)


def _batch_axes(observation: Observation, call: Call) -> tuple[int | None, ...]:
    """Return each input's batch dim: candidates by size, proved by running the module at two batch sizes."""
    tensors = observation.samples[0].tensors
    candidates = [_candidates(observation, i) for i in range(len(tensors))]
    if not any(candidates):  # two views of a batch in one call, say: rows of another number
        rows = next((t.shape[0] for t in tensors if t.dim()), 0)
        candidates = [[0] if t.dim() and t.shape[0] == rows else [] for t in tensors]
    assignments = itertools.islice(itertools.product(*([*c, None] for c in candidates)), 4096)
    ranked = sorted(assignments, key=lambda a: (sum(d is None for d in a), sum(d or 0 for d in a)))
    fallback: tuple[int | None, ...] | None = None
    for assignment in ranked[:_MAX_ASSIGNMENTS]:
        if all(d is None for d in assignment):
            break
        verdict = _rows_agree(tensors, assignment, call)
        if verdict:
            return assignment
        if verdict is not None and fallback is None:
            fallback = assignment
    return fallback or (None,) * len(tensors)


def _candidates(observation: Observation, tensor: int) -> list[int]:
    """Dims that have the loader's batch size in some call and never more (the last batch may be smaller)."""
    rank = observation.samples[0].tensors[tensor].dim()
    sizes = [(shapes, batch_size) for shapes, batch_size in observation.shapes if batch_size is not None]
    if not sizes:  # no loader: the first tensor's first dim
        sizes = [(shapes, next((s[0] for s in shapes if s), 0)) for shapes, _ in observation.shapes]
    return [
        d
        for d in range(rank)
        if all(shapes[tensor][d] <= size for shapes, size in sizes)
        and any(shapes[tensor][d] == size for shapes, size in sizes)
        and all(shapes[tensor][d] > 0 for shapes, _ in sizes)
    ]


def _rows_agree(tensors: Sequence[Tensor], assignment: Sequence[int | None], call: Call) -> bool | None:
    """Run two batches: True where the rows agree, False where the module runs but mixes them, None otherwise.

    Small batches, unless other inputs point into them.
    """
    axes: Axes = tuple({} if d is None else {d: BATCH} for d in assignment)
    seen = next(t.shape[d] for t, d in zip(tensors, assignment, strict=True) if d is not None)
    two = (seen, seen + 1) if pointed_at(tensors, axes) else (2, 3)
    small, large = (call(resize(tensors, axes, {BATCH: n})) for n in two)
    if small is None or large is None or len(small) != len(large):
        return None
    changed = False
    agree = True
    for a, b in zip(small, large, strict=True):
        if a.shape == b.shape:
            continue
        if a.dim() != b.dim():
            return None
        changed = True
        rows = b[tuple(slice(size) for size in a.shape)]
        agree &= rows.shape == a.shape and bool(
            torch.allclose(_real(a), _real(rows), rtol=1e-2, atol=1e-3, equal_nan=True)
        )
    return agree and changed


def _real(tensor: Tensor) -> Tensor:
    return (torch.view_as_real(tensor) if tensor.is_complex() else tensor).double()
