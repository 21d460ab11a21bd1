"""Which dims of the inputs are dynamic, and their names: derived from the observed calls, or requested by the user."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from torch import Tensor

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.calls.batch_dim import find_batch, static_batch_dims
from lightning_onnx.module.calls.observation import Observation, Shapes
from lightning_onnx.module.calls.outputs import RunModule
from lightning_onnx.module.calls.resizing import Axes, resize
from lightning_onnx.module.calls.signature import BATCH

RequestedAxes = Mapping[str, Mapping[int, str] | Sequence[int]]
"""``dynamic_axes`` of ``torch.onnx.export``: for each tensor the names of its dynamic dims, or only their indices."""


@dataclasses.dataclass(frozen=True)
class DynamicDims:
    """The dynamic dims of a graph's inputs.

    Attributes:
        axes: For each input, the names of its dynamic dims.
        seen: For each dynamic dim, the observed sizes in ascending order.
    """

    axes: Axes
    seen: Mapping[str, tuple[int, ...]]


@dataclasses.dataclass
class _Group:
    """Dims of different inputs that share a name, because their sizes were equal in all calls."""

    name: str
    sizes: tuple[int, ...]
    members: set[tuple[int, int]] = dataclasses.field(default_factory=set)

    def takes(self, tensor: int, sizes: tuple[int, ...]) -> bool:
        """Tell whether a dim of an input belongs to the group. Two dims of one input never share a name."""
        return self.sizes == sizes and all(member != tensor for member, _ in self.members)


def derive_dims(observation: Observation, names: Sequence[str], run: RunModule) -> DynamicDims:
    """Derive the dynamic dims: the batch, other possible batch dims, nodes of graphs, and dims that varied.

    Args:
        observation: The calls.
        names: Names of the inputs; a dim is named after the first input that has it.
        run: Runs the module on flat tensors.
    """
    all_shapes = [shapes for shapes, _ in observation.shapes]
    found = find_batch(observation, run)
    batch, free = found.axes, {*found.possible, *_free(observation, found.axes, run)}
    batch_sizes = {_sizes(all_shapes, i, d) for i, d in enumerate(batch) if d is not None}
    axes: list[dict[int, str]] = [{} for _ in names]
    groups: list[_Group] = []
    for i, tensor in enumerate(observation.samples[0].tensors):
        for d in range(tensor.dim()):
            sizes = _sizes(all_shapes, i, d)
            varies = len(set(sizes)) > 1
            is_batch = batch[i] == d or (batch[i] is None and varies and sizes in batch_sizes)
            if is_batch and BATCH not in axes[i].values():
                axes[i][d] = BATCH
            elif is_batch or varies or (i, d) in free:
                axes[i][d] = _group_name(groups, names, i, d, sizes)
    seen = {group.name: tuple(sorted(set(group.sizes))) for group in groups}
    if batch_sizes:
        seen[BATCH] = tuple(sorted({size for sizes in batch_sizes for size in sizes}))
    return DynamicDims(tuple(axes), seen)


def _free(observation: Observation, batch: Sequence[int | None], run: RunModule) -> list[tuple[int, int]]:
    """For inputs without a batch dim, return dims of the loader's batch size that the module takes at another size."""
    tensors = observation.samples[0].tensors
    axes: Axes = tuple({} if d is None else {d: BATCH} for d in batch)
    found = []
    for i, d, factor in static_batch_dims(observation, axes):
        alone: Axes = tuple({d: "rows"} if i == j else {} for j in range(len(tensors)))
        if factor == 1 and run(resize(tensors, alone, {"rows": tensors[i].shape[d] + 1})) is not None:
            found.append((i, d))
    return found


def _sizes(all_shapes: Sequence[Shapes], tensor: int, dim: int) -> tuple[int, ...]:
    """Return the sizes of one dim of one tensor, call by call."""
    return tuple(shapes[tensor][dim] for shapes in all_shapes)


def _group_name(groups: list[_Group], names: Sequence[str], tensor: int, dim: int, sizes: tuple[int, ...]) -> str:
    """Add a dim to a group and return its name: preferably a group with the same dim of other inputs, or a new one."""
    fitting = [group for group in groups if group.takes(tensor, sizes)]
    fitting.sort(key=lambda group: all(d != dim for _, d in group.members))
    if not fitting:
        fitting = [_Group(f"{names[tensor]}_dim_{dim}", sizes)]
        groups.append(fitting[0])
    fitting[0].members.add((tensor, dim))
    return fitting[0].name


def requested_dims(requested: RequestedAxes, names: Sequence[str], observation: Observation) -> DynamicDims:
    """Return the dynamic dims that the user requested. Names that are not inputs are ignored; they may be outputs.

    Args:
        requested: As in ``torch.onnx.export``.
        names: Names of the inputs.
        observation: The calls.

    Raises:
        ConfigurationError: If an input has no such axis.
    """
    axes: list[dict[int, str]] = []
    for name, tensor in zip(names, observation.samples[0].tensors, strict=True):
        dims = requested.get(name, ())
        named = dims if isinstance(dims, Mapping) else {d: f"{name}_dim_{d}" for d in dims}
        axes.append({_axis(name, d, tensor): dim_name for d, dim_name in named.items()})
    seen: dict[str, tuple[int, ...]] = {}
    for i, of_input in enumerate(axes):
        for d, dim_name in of_input.items():
            seen[dim_name] = tuple(sorted({shapes[i][d] for shapes, _ in observation.shapes}))
    return DynamicDims(tuple(axes), seen)


def _axis(name: str, dim: int, tensor: Tensor) -> int:
    """Return an axis counted from the front."""
    rank = tensor.dim()
    if not -rank <= dim < rank:
        raise ConfigurationError(
            f"dynamic_axes names axis {dim} of input '{name}', whose shape {tuple(tensor.shape)} has {rank} axes. "
            f"Name an axis from 0 to {rank - 1}."
        )
    return dim % rank
