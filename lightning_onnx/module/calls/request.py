"""The requested graph: names and dynamic dims of its inputs and outputs, derived or given by the user."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor

from lightning_onnx.module.calls.dynamic_dims import RequestedAxes, derive_dims, requested_dims
from lightning_onnx.module.calls.names import (
    InputNames,
    chosen_input_names,
    chosen_names,
    name_paths,
    with_input_names,
)
from lightning_onnx.module.calls.nested import TensorPath
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.outputs import RunModule
from lightning_onnx.module.calls.resizing import Axes, kept_whole, resize
from lightning_onnx.module.calls.sample import Sample
from lightning_onnx.module.calls.signature import BATCH


@dataclasses.dataclass(frozen=True)
class Request:
    """The requested graph.

    Attributes:
        sample: The call that is traced.
        tensors: Its tensors at the traced sizes: a batch of 2, other dims as observed.
        input_names: Names of the inputs.
        output_names: Names of the outputs.
        axes: The dynamic dims of each input.
        seen: The observed sizes of each dynamic dim.
        samples: Further observed calls of the same structure.
        output_paths: The path of each output in the method's result.
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
        """Tell whether ``tensors`` have the traced sizes in every static dim."""
        return self.fits_shapes([t.shape for t in tensors])

    def fits_shapes(self, shapes: Sequence[Sequence[int]]) -> bool:
        """Tell whether ``shapes`` have the traced sizes in every static dim."""
        return all(
            shape[d] == size or d in axes
            for shape, traced, axes in zip(shapes, self.tensors, self.axes, strict=True)
            for d, size in enumerate(traced.shape)
        )

    def resized(self, sizes: Mapping[str, int]) -> tuple[Tensor, ...]:
        """Return the traced tensors with dynamic dims at other ``sizes``, their values repeated or cut."""
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
    input_names: InputNames | None = None,
    output_names: Sequence[str] | None = None,
    dynamic_axes: RequestedAxes | str | None = "auto",
    naming: Callable[[Sequence[TensorPath]], Sequence[TensorPath]] = tuple,
) -> Request:
    """Derive the request to the engines from the observed calls.

    A dim is dynamic if its size differed between calls. The batch dim is dynamic too: the dim of the loader's batch
    size that the module also takes at another size, with the same results for the same rows. Dims that had equal sizes
    in all calls share one name.

    Args:
        observation: The calls; the graph has the structure of the first sample.
        run: Runs the module on flat tensors.
        input_names: Names to use instead of the derived ones.
        output_names: Names to use instead of the derived ones.
        dynamic_axes: ``"auto"``, or as in ``torch.onnx.export``.
        naming: Returns the paths that give the inputs their names for those of the arguments.

    Raises:
        ConfigurationError: If the requested names or axes do not fit the tensors.
    """
    sample = observation.samples[0]
    names = chosen_input_names(input_names, name_paths(naming(sample.paths), "input"), sample.paths)
    if isinstance(dynamic_axes, str):
        dims = derive_dims(observation, names, run)
    else:
        dims = requested_dims(with_input_names(dynamic_axes or {}, names, sample.paths), names, observation)
    tensors, paths = _traced(sample.tensors, dims.axes, run)
    outputs = chosen_names("output", output_names, name_paths(paths, "output", taken=names))
    return Request(sample, tensors, names, outputs, dims.axes, dims.seen, observation.samples, paths)


def _traced(
    observed: tuple[Tensor, ...], axes: Axes, run: RunModule
) -> tuple[tuple[Tensor, ...], tuple[TensorPath, ...]]:
    """Return the tensors to trace with, and the paths of the resulting outputs.

    A small batch is traced, so that tracing is cheap and the file does not depend on the loader's batch size.
    """
    names = {name for named in axes for name in named.values()} - kept_whole(observed, axes)
    sizes = {BATCH: 2} if BATCH in names else {}
    singles = {name: 2 for i, named in enumerate(axes) for d, name in named.items() if observed[i].shape[d] == 1}
    for wanted in (sizes | singles, sizes):
        tensors = resize(observed, axes, wanted)
        outputs = run(tensors) if wanted else None
        if outputs is not None:
            return tensors, outputs.paths
    outputs = run(observed)
    return tuple(t.contiguous() for t in observed), () if outputs is None else outputs.paths
