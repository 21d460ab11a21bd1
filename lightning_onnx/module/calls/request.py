"""The graph's inputs and outputs: names, dtypes, static and dynamic dims; derived, then overridden by configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lightning_onnx.module.calls.batch_dim import batch_axes, dim_sizes
from lightning_onnx.module.calls.names import asked_axes, chosen_names, name_paths
from lightning_onnx.module.calls.nested import TensorPath
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.outputs import RunModule
from lightning_onnx.module.calls.resizing import Axes, kept_whole, resize
from lightning_onnx.module.calls.sample import Sample
from lightning_onnx.module.calls.signature import BATCH


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
    output_paths: tuple[TensorPath, ...] = ()

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


def derive(
    observation: Observation,
    run: RunModule,
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
        run: Runs the module on flat tensors, None where it does not take them.
        input_names: Names to use instead of the derived ones.
        output_names: Names to use instead of the derived ones.
        dynamic_axes: ``"auto"``, or as in ``torch.onnx.export``.

    Raises:
        ConfigurationError: If the names or axes asked for do not fit the tensors.
    """
    sample = observation.samples[0]
    names = chosen_names("input", input_names, name_paths(sample.paths, "input"))
    if dynamic_axes == "auto":
        axes, seen = _derive_axes(observation, names, run)
    else:
        axes = asked_axes(dynamic_axes or {}, names, sample.tensors)
        seen = {}
        for i, named in enumerate(axes):
            for d, name in named.items():
                seen[name] = tuple(sorted({shapes[i][d] for shapes, _ in observation.shapes}))
    tensors, paths = _traced(observation.samples, axes, run)
    outputs = chosen_names("output", output_names, name_paths(paths, "output", taken=names))
    return Request(sample, tensors, names, outputs, axes, seen, observation.samples, paths)


def _traced(samples: Sequence[Sample], axes: Axes, run: RunModule) -> tuple[tuple[Tensor, ...], tuple[TensorPath, ...]]:
    """A small batch is traced, so that preparing is cheap and the file does not depend on the loader's batch size."""
    first = samples[0].tensors
    names = {name for named in axes for name in named.values()} - kept_whole(first, axes)
    sizes = {BATCH: 2} if BATCH in names else {}
    singles = {n: 2 for i, named in enumerate(axes) for d, n in named.items() if first[i].shape[d] == 1}
    for wanted in (sizes | singles, sizes):
        tensors = resize(first, axes, wanted)
        outputs = run(tensors) if wanted else None
        if outputs is not None:
            return tensors, outputs.paths
    outputs = run(first)
    return tuple(t.contiguous() for t in first), () if outputs is None else outputs.paths


# Names --------------------------------------------------------------------------------------------------------------


# Dynamic dims -------------------------------------------------------------------------------------------------------


def _derive_axes(
    observation: Observation, names: tuple[str, ...], run: RunModule
) -> tuple[Axes, dict[str, tuple[int, ...]]]:
    tensors = observation.samples[0].tensors
    all_shapes = [shapes for shapes, _ in observation.shapes]
    batch = batch_axes(observation, run)
    groups: list[tuple[tuple[int, ...], str, set[tuple[int, int]]]] = []
    batch_vectors = {dim_sizes(all_shapes, i, d) for i, d in enumerate(batch) if d is not None}
    members: list[tuple[int, int, tuple[int, ...], bool]] = []
    for i, tensor in enumerate(tensors):
        for d in range(tensor.dim()):
            vector = dim_sizes(all_shapes, i, d)
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
