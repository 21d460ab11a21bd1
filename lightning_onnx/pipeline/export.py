"""``lightning_onnx.export``: prepare and produce in one call, without a Trainer."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric import is_wrapped
from torch import Tensor, nn

from lightning_onnx.artifacts import naming
from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.checks.loaders import NO_LOADERS, Loaders
from lightning_onnx.errors import ArtifactError, ConfigurationError
from lightning_onnx.module.calls.matching import Arguments, as_call
from lightning_onnx.module.calls.nested import flatten
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.random_state import random_states_kept_for_training
from lightning_onnx.module.weights import copying, loading
from lightning_onnx.module.weights.source import Source
from lightning_onnx.notices import warn
from lightning_onnx.option_names import check_known
from lightning_onnx.pipeline.config import ExportConfig, check_not_empty
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.methods import configs_of
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.pipeline.produce import produce
from lightning_onnx.pipeline.stages import stages_named
from lightning_onnx.profile import profiled


@profiled()
@random_states_kept_for_training()
def export(
    module: nn.Module,
    args: Sequence[Any] | Mapping[str, Any] | Tensor = (),
    kwargs: Mapping[str, Any] | None = None,
    *more: Any,
    directory: str | os.PathLike[str],
    dataloaders: Any = None,
    **options: Any,
) -> ONNXArtifact:
    """Export a module to an artifact without a Trainer.

    Args:
        module: Any module. It is copied; the module itself and the random states are not changed.
        args: Arguments of one call of the method: a tuple in order, a dict by name, or one tensor.
        kwargs: Keyword arguments of the same call.
        more: Nothing; only for a message that says how to give several arguments.
        directory: The artifact's directory; must not exist.
        dataloaders: As in ``Trainer.validate``, for checks that run the module's validation loop.
        options: As in ``lightning_onnx.ONNXExport``: ``method``, ``input_names``, ``opset_version`` … With a list of
            methods, ``sample`` has a call of each, as in ``export(vae, method=["encode", "decode"],
            sample={"encode": image, "decode": z}, directory=...)``.

    Returns:
        The artifact.

    Raises:
        ConfigurationError: If an option is invalid or does not fit the module.
        SampleError: If the module does not take the arguments.
        EngineError: If no engine can translate the module.
        ParityError: If the graph's outputs differ from the module's.
        ArtifactError: If the directory exists or cannot be written.
        StageError: If a stage raises an exception that is not of this package.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as d:
        ...     made = export(torch.nn.Linear(4, 2), torch.zeros(3, 4), directory=f"{d}/linear")
        ...     str(made.signature), made.passed
        ('(input: float32[batch, 4]) -> (output: float32[batch, 2])', True)
    """
    started = time.perf_counter()
    is_list = isinstance(options.get("method"), (list, tuple))
    known = {f.name for f in dataclasses.fields(ExportConfig)} - (set() if is_list else {"sample"})
    check_known("export()", options, known)
    if more or not (kwargs is None or isinstance(kwargs, Mapping)):
        raise ConfigurationError(
            f"export() takes the arguments of the module as one tuple, but got {2 + len(more)} of them. Write "
            "export(module, (first, second), directory=...), and keyword arguments as a dict after the tuple."
        )
    if not isinstance(directory, (str, os.PathLike)):
        raise ConfigurationError(f"directory={directory!r} is not a path. Give one such as 'exported'.")
    if "://" in str(directory):
        raise ConfigurationError(
            f"directory={str(directory)!r} is a URL, and export() writes to this machine. Give a directory, and copy "
            "it as a whole; the callback's dirpath may be a URL."
        )
    naming.check_directory("directory", directory)
    module = _unwrapped(module)
    if options.get("checks", ()) is None:
        del options["checks"]
    configs = configs_of(options.pop("method", "forward"), **options)
    target = Path(directory)
    if target.exists():
        raise ArtifactError(f"{target} exists. Remove it or choose another directory.")
    is_one = not isinstance(args, (list, tuple, Mapping))
    positional = (args,) if is_one else () if isinstance(args, Mapping) else tuple(args)
    named = {**(args if isinstance(args, Mapping) else {}), **(kwargs or {})}
    calls = _calls(configs, positional, named) if is_list else [(positional, named)]
    for call in calls:
        check_not_empty("the call", flatten(call)[1])
    samples = [config.around.sample(module, call) for config, call in zip(configs, calls, strict=True)]
    with stages_named(module, " and ".join(c.method for c in configs), "copying the module") as enter:
        copied = copying.private_copy(module)
        enter("merging the adapters")
        loading.merge_adapters(copied)
    plans = []
    for config, sample in zip(configs, samples, strict=True):
        given = dataclasses.replace(Observation.of(sample, "the given arguments"), is_given=True)
        plans.append(prepare(copied, [given], config))
        for note in plans[-1].notes:
            warn(f"ONNX export: {note}")
    first = next((p for p in module.parameters()), torch.empty(0))
    source = Source(precision=str(first.dtype).removeprefix("torch."), device=first.device.type)
    loaders = NO_LOADERS if dataloaders is None else Loaders(dataloaders, missing=None)
    made = produce(plans, LoadedModule(copied, source, loaders, started), target)
    for record in made.record.by_method.values():
        if record.contract is not None and record.contract.warning is not None:
            warn(f"ONNX export: {record.contract.warning}")
    return made


def _calls(configs: Sequence[ExportConfig], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Arguments]:
    """Return the call of each of several methods.

    Raises:
        ConfigurationError: If a method has none, or arguments are given that do not say for which method they are.
    """
    missing = [config.method for config in configs if config.sample is None]
    if args or kwargs or missing:
        got = "arguments outside of it" if not missing else f"no call of {', '.join(missing)}"
        raise ConfigurationError(
            f"export() with a list of methods takes a call of each in sample=..., but got {got}. Write "
            f"sample={{{configs[0].method!r}: (first, second), ...}}."
        )
    return [as_call(config.sample) for config in configs]


def _unwrapped(module: object) -> nn.Module:
    """Return the module, without what ``Fabric.setup`` puts around it: its ``forward`` takes ``*args``.

    Raises:
        ConfigurationError: If it is not a module.
    """
    if not isinstance(module, nn.Module):
        made = f" Make one: {module.__name__}(...)." if isinstance(module, type) else ""
        raise ConfigurationError(
            f"export() takes a torch.nn.Module, got {type(module).__name__}.{made or ' Give the module itself.'}"
        )
    return cast(nn.Module, module.module) if is_wrapped(module) else module
