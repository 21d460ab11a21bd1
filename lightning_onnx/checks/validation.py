"""The user's validation loop, run apart from the training: with the module, or with its method answered by a file."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import hashlib
import importlib
import logging
import random
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_onnx.errors import SampleError, first_line
from lightning_onnx.module.arrays import feeds, to_numpy
from lightning_onnx.module.calls.nested import TensorPath, flatten
from lightning_onnx.module.calls.sample import make_sample, method_signature
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.module.random_state import random_states_kept
from lightning_onnx.module.weights import copying, loading
from lightning_onnx.onnxfile.privacy import without_paths
from lightning_onnx.runtimes.base import Arrays, Session


@dataclasses.dataclass(frozen=True)
class Loaders:
    """What validation runs on.

    Attributes:
        dataloaders: What ``Trainer.validate`` takes: a loader, several, or a ``LightningDataModule``.
        limit_batches: As ``limit_val_batches`` of the Trainer.
        datamodule: The ``LightningDataModule`` that the loaders come from: its hooks change the batches.
        missing: Why there is nothing to validate on; None where there is.
    """

    dataloaders: Any = None
    limit_batches: float | None = None
    datamodule: Any = None
    missing: str | None = "there are no validation batches"


NO_LOADERS = Loaders()


@dataclasses.dataclass(frozen=True)
class ExportedCall:
    """How the exported method is called: where the graph's tensors stand among its arguments and in its result.

    Attributes:
        method: Name of the method.
        signature: The graph's inputs and outputs.
        inputs: For each input where it stands among the arguments.
        outputs: For each output where it stands in the result.
    """

    method: str
    signature: Signature
    inputs: tuple[TensorPath, ...]
    outputs: tuple[TensorPath, ...]


@dataclasses.dataclass
class Measured:
    """What one run of the loop logged.

    Attributes:
        metrics: The logged values by name.
        batches: A digest of each batch, so that two runs can be seen to have had the same.
        samples: Number of samples by the place of their loader.
        calls: How often the method was called, where something stood in for it.
        unanswered: Places in the method's result that the graph does not give; floats there were NaN.
        finite: Whether all that the file answered was finite.
        feeds: What the graph would have got at each call, where it was asked for.
    """

    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    batches: list[str] = dataclasses.field(default_factory=list)
    samples: Counter[int] = dataclasses.field(default_factory=Counter)
    calls: int = 0
    unanswered: set[str] = dataclasses.field(default_factory=set)
    finite: bool = True
    feeds: list[Arrays] = dataclasses.field(default_factory=list)


def loaders_of(trainer: Any) -> Loaders:
    """Return the validation batches of a Trainer's fit."""
    if trainer.world_size > 1:
        return Loaders(missing=f"it is for a run of one process, and this one has {trainer.world_size}")
    dataloaders = trainer.val_dataloaders
    if dataloaders is None or not trainer.limit_val_batches:
        return NO_LOADERS
    return Loaders(dataloaders, trainer.limit_val_batches, trainer.datamodule, None)


class Validation:
    """Runs the validation loop of a LightningModule by a Trainer of its own, on the CPU, on copies of the module.

    Args:
        module: The module; nothing runs on it.
        loaders: What to run on.
        call: How its exported method is called.

    Raises:
        SampleError: If there is nothing to validate with; the message is the reason.
    """

    def __init__(self, module: nn.Module, loaders: Loaders, call: ExportedCall) -> None:
        if loaders.missing is not None:
            raise SampleError(loaders.missing)
        if _lightning_of(module) is None:
            raise SampleError(f"{type(module).__name__} is no LightningModule, so it has no validation loop")
        if not loading.overrides(type(module), "validation_step"):
            raise SampleError(f"{type(module).__name__} has no validation_step")
        self.module = module
        self.loaders = loaders
        self.call = call
        self._own: dict[float | None, Measured] = {}

    def measure(self, session: Session | None = None, limit_batches: float | None = None) -> Measured:
        """Run the loop; with the module itself it runs once, and the result is kept.

        Args:
            session: What answers the method; None: the module itself.
            limit_batches: As ``limit_val_batches``; default: that of the training.

        Raises:
            SampleError: If the loop does not run apart from the training; if the file answers, and the loop never calls
                the method, or without the graph's inputs.
        """
        if session is not None:
            return self._run(limit_batches, lambda copied, measured: _Answer(copied, self.call, measured, session))
        if limit_batches not in self._own:
            with _user_code():
                self._own[limit_batches] = self._run(limit_batches, None)
        return self._own[limit_batches]

    def feeds(self, limit_batches: float) -> list[Arrays]:
        """Return what the graph gets in the loop: for each call of the method its inputs by name.

        Args:
            limit_batches: As ``limit_val_batches``.

        Raises:
            SampleError: As ``measure``.
        """
        with _user_code():
            return self._run(limit_batches, lambda copied, measured: _Recorder(copied, self.call, measured)).feeds

    def _run(self, limit_batches: float | None, stand_in: Callable[[Any, Measured], _Recorder] | None) -> Measured:
        copied, measured = self._copied(), Measured()
        if stand_in is not None:
            copied.__dict__[self.call.method] = stand_in(copied, measured)
            if self.call.method == "forward":  # the graph has what its hooks do
                copied._forward_pre_hooks.clear()
                copied._forward_hooks.clear()
        with _alike(self.loaders.dataloaders), tempfile.TemporaryDirectory() as directory:
            measured.metrics = self._validated(copied, measured, limit_batches, directory)
        if stand_in is not None and not measured.calls:
            raise SampleError(f"the validation loop never calls {type(self.module).__name__}.{self.call.method}")
        return measured

    def _copied(self) -> Any:
        """A copy that logs, as the module itself does; the states of its metrics are empty."""
        from torchmetrics import Metric

        copied: Any = copying.private_copy(self.module)
        copying.unsilence(copied)
        for part in copied.modules():
            if isinstance(part, Metric):
                part.reset()
        copied.configure_callbacks = list  # those of the user belong to the training
        state = copied.state_dict()
        for name in ("setup", "configure_model"):  # they may make layers
            copied.__dict__[name] = _then(getattr(copied, name), lambda: copied.load_state_dict(state, strict=False))
        return copied

    def _data(self) -> dict[str, Any]:
        """What ``Trainer.validate`` gets; of a data module, which belongs to the training, a copy with its hooks."""
        given, own = self.loaders.dataloaders, self.loaders.datamodule
        if hasattr(given, "prepare_data_per_node"):
            return {"datamodule": copy.copy(given)}
        if own is None:
            return {"dataloaders": given}
        copied = copy.copy(own)
        copied.val_dataloader = lambda: given
        copied.prepare_data = copied.setup = copied.teardown = _nothing
        return {"datamodule": copied}

    def _validated(
        self, copied: Any, measured: Measured, limit_batches: float | None, directory: str
    ) -> dict[str, float]:
        package = importlib.import_module(f"{_lightning_of(copied)}")
        environments = importlib.import_module(
            "lightning.fabric.plugins.environments"
            if package.__name__.startswith("lightning.")
            else "lightning_fabric.plugins.environments"
        )
        loggers = importlib.import_module(f"{package.__name__}.loggers.logger")
        limit = self.loaders.limit_batches if limit_batches is None else limit_batches
        double = any(t.dtype == torch.float64 for t in copied.parameters())

        class Watch(package.Callback):  # type: ignore[name-defined, misc]
            def on_validation_batch_start(
                self, trainer: Any, module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
            ) -> None:
                tensors = flatten(batch)[1]
                measured.batches.append(_digest(tensors))
                measured.samples[dataloader_idx] += next((len(t) for t in tensors if t.dim()), 1)

        with _quiet(package.__name__):
            trainer = package.Trainer(
                accelerator="cpu",
                devices=1,
                precision="64-true" if double else "32-true",
                logger=loggers.DummyLogger(),  # a step may reach for self.logger.experiment
                callbacks=[Watch()],
                limit_val_batches=limit,
                default_root_dir=directory,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                plugins=[environments.LightningEnvironment()],
            )
            found = trainer.validate(copied, **self._data(), verbose=False)
        return {name: float(value) for metrics in found for name, value in metrics.items()}


class _Recorder:
    """Stands in for the exported method, and keeps what the graph would get."""

    def __init__(self, copied: Any, call: ExportedCall, measured: Measured) -> None:
        self.original: Callable[..., Any] = getattr(copied, call.method)
        self.parameters = method_signature(copied, call.method)
        self.call = call
        self.measured = measured

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.measured.feeds.append(self.feed(args, kwargs))
        return self.original(*args, **kwargs)

    def feed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arrays:
        sample = make_sample(self.parameters, args, kwargs)
        self.measured.calls += 1
        return feeds_of(self.call, dict(zip(sample.paths, sample.tensors, strict=True)))


class _Answer(_Recorder):
    """Answers by a file; what that does not give is NaN."""

    def __init__(self, copied: Any, call: ExportedCall, measured: Measured, session: Session) -> None:
        super().__init__(copied, call, measured)
        self.session = session

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = dict(zip(self.call.outputs, self.session.run(self.feed(args, kwargs)).values(), strict=True))
        structure, own = flatten(self.original(*args, **kwargs), opaque=True)  # for its classes and flags
        return structure.fill([self._answered(p, t, given) for p, t in zip(structure.paths, own, strict=True)])

    def _answered(self, path: TensorPath, own: Tensor, given: Mapping[TensorPath, np.ndarray[Any, Any]]) -> Tensor:
        if path in given:
            found = torch.from_numpy(np.array(given[path]))
            self.measured.finite &= bool(torch.isfinite(found).all())
            return found
        self.measured.unanswered.add(".".join(path) or "output")
        return torch.full_like(own, torch.nan) if own.is_floating_point() else own


def feeds_of(call: ExportedCall, tensors: Mapping[TensorPath, Tensor]) -> Arrays:
    """Return the graph's inputs by name.

    Args:
        call: How the method is called.
        tensors: The call's tensors by where they stand.

    Raises:
        SampleError: If the call lacks one of them.
    """
    missing = [".".join(path) for path in call.inputs if path not in tensors]
    if missing:
        raise SampleError(
            f"the validation loop calls {call.method} without {', '.join(missing)}, which the graph takes; it gives "
            f"{', '.join('.'.join(path) for path in tensors)}"
        )
    return feeds(call.signature.inputs, [tensors[path] for path in call.inputs])


def _lightning_of(module: nn.Module) -> str | None:
    """The package whose Trainer takes the module: ``lightning.pytorch`` and ``pytorch_lightning`` are two."""
    own = next((k.__module__ for k in type(module).__mro__ if k.__name__ == "LightningModule"), None)
    return None if own is None else own.rpartition(".core.")[0]


def _then(first: Callable[..., Any], second: Callable[[], Any]) -> Callable[..., None]:
    def both(*args: Any, **kwargs: Any) -> None:
        first(*args, **kwargs)
        second()

    return both


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


def _digest(tensors: Sequence[Tensor]) -> str:
    found = hashlib.blake2b(digest_size=8)
    for tensor in tensors:
        found.update(str(tuple(tensor.shape)).encode())
        if tensor.layout is torch.strided:
            found.update(np.ascontiguousarray(to_numpy(tensor)).tobytes())
    return found.hexdigest()


@contextlib.contextmanager
def _user_code() -> Iterator[None]:
    """What the user's own code raises in a loop apart from the training says nothing of the file."""
    try:
        yield
    except SampleError:
        raise
    except Exception as error:
        told = without_paths(first_line(error))
        raise SampleError(f"the validation loop does not run apart from the training: {told}") from error


@contextlib.contextmanager
def _alike(dataloaders: Any) -> Iterator[None]:
    """Give each run the same random numbers (a loader that shuffles draws them), and leave the state as it was."""
    states = [(generator, generator.get_state()) for generator in _generators(dataloaders)]
    with random_states_kept():
        torch.manual_seed(0)
        np.random.seed(0)
        random.seed(0)
        try:
            yield
        finally:
            for generator, state in states:
                generator.set_state(state)


def _generators(value: Any) -> list[torch.Generator]:
    """The generators of loaders and their samplers; a loader that does not shuffle draws from its own, too."""
    if isinstance(value, Mapping):
        return [g for item in value.values() for g in _generators(item)]
    if isinstance(value, (list, tuple)):
        return [g for item in value for g in _generators(item)]
    parts = [value, *(getattr(value, name, None) for name in ("sampler", "batch_sampler"))]
    parts.append(getattr(parts[-1], "sampler", None))
    found = [getattr(part, "generator", None) for part in parts]
    return list({id(g): g for g in found if isinstance(g, torch.Generator)}.values())


@contextlib.contextmanager
def _quiet(package: str) -> Iterator[None]:
    """Keep a Trainer from saying again what was said of devices and loaders when the training began."""
    own = logging.getLogger(f"{package}.utilities.rank_zero")
    level = own.level
    own.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        own.setLevel(level)
