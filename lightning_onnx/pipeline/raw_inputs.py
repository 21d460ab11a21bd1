"""Raw inputs: a copy gets what is around its method, and the sizes of images are free where preprocessing allows it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from torch import Tensor, nn

from lightning_onnx.module.calls.observation import Observation, Shapes
from lightning_onnx.module.calls.resizing import Axes, resize
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.steps import check_steps
from lightning_onnx.pipeline.config import ExportConfig

_SMALLEST = 8
"""Dims below are channels, and not the height or width of an image."""


def raw_observations(
    module: nn.Module, observations: Sequence[Observation], config: ExportConfig
) -> Sequence[Observation]:
    """Give a copy the method to trace, and add to raw samples the sizes that the graph should also take.

    Args:
        module: A private copy; without preprocessing and postprocessing, nothing changes.
        observations: Ways in which the method to trace is called, best first.
        config: The options.

    Raises:
        ConfigurationError: If a step of the preprocessing does not run on the sample.
    """
    config.around.attach(module)
    check_steps(module, config.around, observations)
    if not config.around.takes_raw_sample or config.dynamic_axes != "auto":
        return observations
    return [_with_free_sizes(module, observation, config) for observation in observations]


def _with_free_sizes(module: nn.Module, observation: Observation, config: ExportConfig) -> Observation:
    """Try each dim on its own: a dim is free if the outputs of another size have the same shapes."""
    sample = observation.samples[0]
    flat = FlatModule(module, config.traced_method, sample)
    try:
        shapes = _output_shapes(flat, sample.tensors)
    except Exception:  # it is told when the signature is derived
        return observation
    axes: list[dict[int, str]] = [{} for _ in sample.tensors]
    sizes: dict[str, int] = {}
    for i, tensor in enumerate(sample.tensors):
        for dim in range(1, tensor.dim()) if tensor.dim() in (3, 4) else ():
            name, size = f"{i}.{dim}", tensor.shape[dim] + 5
            alone: Axes = tuple({dim: name} if i == j else {} for j in range(len(sample.tensors)))
            if tensor.shape[dim] >= _SMALLEST and _runs(flat, resize(sample.tensors, alone, {name: size}), shapes):
                axes[i][dim], sizes[name] = name, size
    if not sizes:
        return observation
    tried = resize(sample.tensors, tuple(axes), sizes)
    if not _runs(flat, tried, shapes):
        return observation
    further: tuple[Shapes, int | None] = (tuple(tuple(t.shape) for t in tried), observation.shapes[0][1])
    counts = (*(observation.counts or (1,) * len(observation.shapes)), 0)
    return dataclasses.replace(observation, shapes=(*observation.shapes, further), counts=counts)


def _runs(flat: FlatModule, tensors: Sequence[Tensor], shapes: list[tuple[int, ...]]) -> bool:
    try:
        return _output_shapes(flat, tensors) == shapes
    except Exception:
        return False


def _output_shapes(flat: FlatModule, tensors: Sequence[Tensor]) -> list[tuple[int, ...]]:
    return [tuple(t.shape) for t in flat.reference(tensors)]
