"""The calls to trace with where no training shows any: the given sample, the batches of a loader, or the example."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from lightning_onnx.errors import SampleError
from lightning_onnx.module.calls import matching
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.pipeline.config import ExportConfig

_BATCHES = 6
"""Number of batches whose sizes are compared; the callback keeps as many."""


def calls_of(module: nn.Module, config: ExportConfig, loader: object, data: str | None) -> list[Observation]:
    """Return the ways in which the method to trace is called, most likely first.

    Args:
        module: The module.
        config: The options.
        loader: A loader, several of them, or None.
        data: What messages call the loader; None without one.

    Raises:
        SampleError: If nothing shows a call: raw inputs of a module or function are shown by the given sample only.
        ConfigurationError: If the given sample does not fit.
    """
    around = config.around
    if around.takes_raw_sample and config.sample is None:
        raise SampleError(
            "preprocess=... is not the name of a method, so no batch shows the raw inputs. Give one as "
            "sample=..., or use export()."
        )
    matched = []
    if data is not None and not around.takes_raw_sample:
        signature, source = around.signature(module), "the first batches of --data"
        found = matching.match(signature, _first_batches(loader, data), source, around.observed_method)
        matched = [dataclasses.replace(observation, origin="data") for observation in found]
    if config.sample is not None:
        return [around.given(module, config.sample, matched[:1])]
    if data is not None:
        return matched
    example = getattr(module, "example_input_array", None)
    if example is None or around.observed_method != config.method:
        missing = "no example_input_array" if example is None else "no call of its hook"
        raise SampleError(
            f"{type(module).__name__} has {missing}, so there is nothing to trace with. Give a loader or a "
            "LightningDataModule: --data MODULE:NAME."
        )
    sample = matching.sample_of(module, config.method, matching.as_call(example))
    return [Observation.of(sample, "example_input_array")]


def _first_batches(loader: object, name: str) -> list[tuple[Any, int | None]]:
    loaders = list(loader.values()) if isinstance(loader, Mapping) else loader
    if isinstance(loaders, (list, tuple)) and loaders and hasattr(loaders[0], "dataset"):
        loader = loaders[0]  # several validation loaders
    if not isinstance(loader, Iterable):
        raise SampleError(f"{name} is a {type(loader).__name__}, which cannot be iterated. Name a loader.")
    size = getattr(loader, "batch_size", None)
    batches = [(batch, size) for batch in itertools.islice(loader, _BATCHES)]
    if not batches:
        raise SampleError(f"{name} is empty. Name a loader with at least one batch.")
    return batches
