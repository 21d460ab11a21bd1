"""Exports a checkpoint of an earlier run: rebuilds the module, and loads the checkpoint's weights into it.

The module's own code runs; code inside the checkpoint never does.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.checks.loaders import NO_LOADERS, Loaders
from lightning_onnx.errors import ConfigurationError, SampleError, did_you_mean, first_line
from lightning_onnx.module.user_code import raised_at
from lightning_onnx.module.weights import copying, loading
from lightning_onnx.module.weights.checkpoint_file import read_checkpoint
from lightning_onnx.module.weights.source import Source
from lightning_onnx.pipeline.calls import calls_of
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.lightning_versions import check_versions
from lightning_onnx.pipeline.loaded import LoadedModule
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.pipeline.produce import produce
from lightning_onnx.pipeline.stages import stages_named
from lightning_onnx.profile import profiled

_ADVICE = "Give the path of a checkpoint that Lightning has written (.ckpt)."
_OF_A_NAMED_CLASS = "Is --model the class that was trained, and does --init give the arguments that it had?"
_OF_A_MODULE = "Give a checkpoint of this class, and the hyperparameters that it was trained with."


@profiled()
def export_checkpoint(
    checkpoint: str,
    model: str,
    directory: Path,
    configs: Sequence[ExportConfig],
    *,
    data: str | None = None,
    init: Mapping[str, Any] | None = None,
) -> ONNXArtifact:
    """Export a checkpoint.

    Args:
        checkpoint: Path or URL.
        model: The module's class, or a function that returns a module, as ``"module:name"``.
        directory: The artifact's directory; must not exist.
        configs: The options, by method.
        data: A ``LightningDataModule``, a loader, or a function that returns one, as ``"module:name"``. Its first
            batches are the sample, and show which dims vary; checks that run the validation loop use all batches.
            Default: the module's ``example_input_array``.
        init: Arguments for the module; they override the checkpoint's hyperparameters.

    Raises:
        ConfigurationError: If a name cannot be imported, or the module cannot be built, or Lightning is a version that
            runs code in checkpoints.
        WeightsError: If the checkpoint cannot be read or does not fit the module.
        SampleError: If there is no call to trace with.
    """
    make = named(model)
    check_versions()  # now that the user's modules have imported theirs
    content = read_checkpoint(checkpoint, _ADVICE, is_verified=True)
    module = _build(make, model, content, dict(init or {}))
    loader, datamodule = (None, None) if data is None else _loader(named(data), data, content)
    given = _Data(loader, datamodule, data)
    return _exported(module, checkpoint, content, directory, configs, given, _OF_A_NAMED_CLASS)


def export_module(
    module: nn.Module, checkpoint: str, directory: Path, configs: Sequence[ExportConfig], *, data: Any = None
) -> ONNXArtifact:
    """Export a checkpoint of a module that is made already; it is not changed.

    Args:
        module: The module, with any weights.
        checkpoint: Path or URL.
        directory: The artifact's directory; must not exist.
        configs: The options, by method.
        data: A ``LightningDataModule``, or None for the module's own loaders, or else its ``example_input_array``.

    Raises:
        WeightsError: If the checkpoint cannot be read or does not fit the module.
        SampleError: If there is no call to trace with.
    """
    check_versions()
    content = read_checkpoint(checkpoint, _ADVICE, is_verified=True)
    own = any(loading.overrides(type(module), loader) for loader in _LOADERS)
    found = data if data is not None else module if own else None
    given = _Data()
    if found is not None:
        name = type(found).__name__
        loader, datamodule = _loader_of(found, name)
        given = _Data(loader, datamodule if data is not None else None, name)
    return _exported(module, checkpoint, content, directory, configs, given, _OF_A_MODULE)


@dataclasses.dataclass(frozen=True)
class _Data:
    """A loader, its data module, and what messages call them; all None without data."""

    loader: Any = None
    datamodule: Any = None
    name: str | None = None


def _exported(
    module: nn.Module,
    checkpoint: str,
    content: dict[str, Any],
    directory: Path,
    configs: Sequence[ExportConfig],
    data: _Data,
    advice: str,
) -> ONNXArtifact:
    with stages_named(module, " and ".join(config.method for config in configs), "copying the module") as enter:
        copied = copying.private_copy(module)
        enter("loading the weights")
        loading.load_checkpoint(copied, content, advice=advice)
        enter("merging the adapters")
        loading.merge_adapters(copied)
    calls = [calls_of(module, config, data.loader, data.name) for config in configs]
    plans = [prepare(copied, observations, config) for observations, config in zip(calls, configs, strict=True)]
    source = Source(
        weights="checkpoint",
        epoch=content.get("epoch"),
        global_step=content.get("global_step"),
        checkpoint=os.path.basename(checkpoint.rstrip("/")),
    )
    loaders = NO_LOADERS
    if data.loader is not None:
        loaders = Loaders(data.loader, datamodule=data.datamodule, missing=None)
    return produce(plans, LoadedModule(copied, source, loaders, moment=None), directory)


def named(name: str) -> Any:
    """Import the object named by ``"module:name"``; the current directory is searched too.

    Raises:
        ConfigurationError: If ``name`` does not have this form, or cannot be imported.
    """
    module, colon, attribute = name.partition(":")
    if not colon or not module or not attribute:
        raise ConfigurationError(
            f"{name!r} does not have the form MODULE:NAME. Give a name such as my_package.models:Classifier."
        )
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as error:  # the module's own code runs, and may raise anything
        line = None if isinstance(error, (ImportError, AttributeError)) else raised_at(error)
        where = f" at {line}" if line else ""
        near = did_you_mean(error.name, dir(error.obj)) if isinstance(error, AttributeError) else "."
        raise ConfigurationError(
            f"{name!r} cannot be imported: {first_line(error)}{where}{near} Give a module that can be imported from "
            "the current directory, and one of its attributes."
        ) from error
    return found


def plain(value: object) -> bool:
    """Tell whether a hyperparameter is a plain value; other values are not read from the checkpoint.

    Example:
        >>> plain({"sizes": [1, 2]}), plain(object())
        (True, False)
    """
    if isinstance(value, Mapping):
        return all(isinstance(k, str) and plain(v) for k, v in value.items())
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(map(plain, value))
    return value is None or type(value) in (bool, int, float, str, bytes)


def _build(make: Callable[..., object], name: str, content: Mapping[str, Any], init: dict[str, Any]) -> nn.Module:
    arguments = _arguments(make, content, "hyper_parameters", "hparams_name") | init
    try:
        module = make(**arguments)
    except Exception as error:
        raise ConfigurationError(
            f"{name}({', '.join(f'{k}={v!r}' for k, v in arguments.items())}) fails: {first_line(error)}. Give the "
            "missing arguments with --init NAME=VALUE, or name a function that returns the module."
        ) from error
    if not isinstance(module, nn.Module):
        raise ConfigurationError(
            f"{name} returns a {type(module).__name__}, which is not a torch.nn.Module. Name a module's class."
        )
    return module


_OF_THE_CLI = ("_instantiator", "_class_path")
"""Names among the hyperparameters by which ``LightningCLI`` says what to import; nothing is imported by them here."""


def _arguments(make: Callable[..., object], content: Mapping[str, Any], key: str, name_key: str) -> dict[str, Any]:
    """Return the plain saved hyperparameters that ``make`` accepts, chosen as in ``load_from_checkpoint``."""
    saved = content.get(key)
    if not isinstance(saved, Mapping):
        return {}
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):
        return {}
    whole = content.get(name_key)
    if isinstance(whole, str) and whole in parameters and whole != "kwargs":
        return {whole: dict(saved)} if plain(saved) else {}
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    taken = (k for k in saved if k in parameters or (open_ended and k not in _OF_THE_CLI))
    return {k: saved[k] for k in taken if plain(saved[k])}


_LOADERS = ("val_dataloader", "train_dataloader", "test_dataloader", "predict_dataloader")


def _loader(found: Any, name: str, content: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the loader, or the first one of a data module; and the data module, or None."""
    try:
        if isinstance(found, type) or (callable(found) and not hasattr(found, "__iter__")):
            found = found(**_arguments(found, content, "datamodule_hyper_parameters", "datamodule_hparams_name"))
    except Exception as error:
        raise _no_loader(name, error) from error
    return _loader_of(found, name) if hasattr(found, "prepare_data") else (found, None)


def _loader_of(found: Any, name: str) -> tuple[Any, Any]:
    """Return the first loader of a data module, or of a module with loaders of its own; and what it came from."""
    try:
        found.prepare_data()
        found.setup("fit")
        for loader in _LOADERS:
            if loading.overrides(type(found), loader):
                return getattr(found, loader)(), found
    except Exception as error:
        raise _no_loader(name, error) from error
    raise SampleError(f"{name} has none of {', '.join(_LOADERS)}. Name a data module that has one, or a loader.")


def _no_loader(name: str, error: Exception) -> SampleError:
    return SampleError(
        f"{name} returns no loader: {first_line(error)}. Name a function without parameters that returns one."
    )
