"""Runs the user's validation loop outside the training: with the module, or with the file in place of its method."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import importlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lightning_onnx.artifacts.stand_in import ExportedCall, FileAnswers, MethodRecorder, stand_in_for
from lightning_onnx.checks.answers import AnswerTally
from lightning_onnx.checks.loaders import Loaders, digest, same_random_numbers
from lightning_onnx.checks.metric_names import Mode
from lightning_onnx.errors import SampleError, first_line
from lightning_onnx.manifest.answers import Answers
from lightning_onnx.module.call_state import CallState
from lightning_onnx.module.calls.nested import flatten
from lightning_onnx.module.calls.sample import method_signature
from lightning_onnx.module.tracing_thread import only_errors, without_warnings
from lightning_onnx.module.weights import copying, loading, trainer_view, wrappers
from lightning_onnx.onnxfile.privacy import without_paths
from lightning_onnx.runtimes.base import Arrays, Session

_METHODS = (
    "validation_step",
    "on_validation_start",
    "on_validation_epoch_start",
    "on_validation_batch_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
)
"""Methods of a module that the validation loop calls."""


@dataclasses.dataclass(frozen=True)
class LoopResult:
    """The result of one run of the validation loop.

    Attributes:
        metrics: The logged values by name.
        batches: A digest of each batch, to see whether two runs had the same ones.
        samples: Number of samples by index of the loader.
        unanswered: Paths in the method's result that the graph does not return; floats there were NaN.
        is_finite: Whether all outputs of the file were finite.
        modes: Whether a metric is better when lower or when higher, as callbacks of the Trainer and torchmetrics say.
        answers: How the method's answers relate to the targets, None if that cannot be told.
    """

    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    batches: Sequence[str] = ()
    samples: Mapping[int, int] = dataclasses.field(default_factory=dict)
    unanswered: frozenset[str] = frozenset()
    is_finite: bool = True
    modes: Mapping[str, Mode] = dataclasses.field(default_factory=dict)
    answers: Answers | None = None


class Validation:
    """Runs the validation loop of a LightningModule with its own Trainer, on the CPU, on copies of the module.

    Args:
        module: The module; it is copied, and never run itself.
        loaders: The validation batches.
        call: How its exported method is called.

    Raises:
        SampleError: If validation is impossible; the message is the reason.
    """

    def __init__(self, module: nn.Module, loaders: Loaders, call: ExportedCall) -> None:
        if loaders.missing is not None:
            raise SampleError(loaders.missing)
        if _lightning_of(module) is None:
            raise SampleError(f"{type(module).__name__} is not a LightningModule, so it has no validation loop")
        if not loading.overrides(type(module), "validation_step"):
            raise SampleError(f"{type(module).__name__} has no validation_step")
        self.module = module
        self.loaders = loaders
        self.call = call
        self._own: dict[float | None, LoopResult] = {}

    def measure(self, session: Session | None = None, limit_batches: float | None = None) -> LoopResult:
        """Run the loop; with the module itself, it runs only once, and the result is kept.

        Args:
            session: The loaded file to run instead of the method; None: the module itself.
            limit_batches: As ``limit_val_batches``; default: the value of the training.

        Raises:
            SampleError: If the loop does not run outside the training; with a file, also if the loop never calls the
                method, or calls it without an input of the graph.
        """
        if session is not None:
            copied = self._copied()
            answers = FileAnswers(copied, self.call, session)
            result = self._run(stand_in_for(copied, answers), limit_batches)
            self._check_called(answers.calls)
            unanswered = frozenset(answers.unanswered)
            return dataclasses.replace(result, unanswered=unanswered, is_finite=answers.is_finite)
        if limit_batches not in self._own:
            with _user_errors():
                self._own[limit_batches] = self._run(self._copied(), limit_batches)
        return self._own[limit_batches]

    def feeds(self, limit_batches: float) -> list[Arrays]:
        """Return the graph's inputs in the loop: for each call of the method, the inputs by name.

        Args:
            limit_batches: As ``limit_val_batches``.

        Raises:
            SampleError: As for ``measure``.
        """
        copied = self._copied()
        recorder = MethodRecorder(copied, self.call)
        with _user_errors():
            self._run(stand_in_for(copied, recorder), limit_batches)
        self._check_called(len(recorder.feeds))
        return recorder.feeds

    def _check_called(self, calls: int) -> None:
        if not calls:
            raise SampleError(f"the validation loop never calls {type(self.module).__name__}.{self.call.method}")

    def _copied(self) -> Any:
        """Return a copy that logs like the module itself, with empty metrics."""
        from torchmetrics import Metric

        copied: Any = copying.private_copy(self.module)
        wrappers.unsilence(copied)
        for part in copied.modules():
            if isinstance(part, Metric):
                part.reset()
        copied.configure_callbacks = list  # the user's callbacks belong to the training
        state = copied.state_dict()
        for name in ("setup", "configure_model"):  # these hooks may create layers
            copied.__dict__[name] = _then(getattr(copied, name), lambda: copied.load_state_dict(state, strict=False))
        return copied

    def _data(self) -> dict[str, Any]:
        """Return the data arguments for ``Trainer.validate``; a data module belongs to the training, and is copied."""
        given, own = self.loaders.dataloaders, self.loaders.datamodule
        if hasattr(given, "prepare_data_per_node"):
            return {"datamodule": copy.copy(given)}
        if own is None:
            return {"dataloaders": given}
        copied = copy.copy(own)
        copied.val_dataloader = lambda: given
        copied.prepare_data = copied.setup = copied.teardown = _nothing
        return {"datamodule": copied}

    def _run(self, copied: Any, limit_batches: float | None) -> LoopResult:
        package = importlib.import_module(f"{_lightning_of(copied)}")
        environments = importlib.import_module(
            "lightning.fabric.plugins.environments"
            if package.__name__.startswith("lightning.")
            else "lightning_fabric.plugins.environments"
        )
        loggers = importlib.import_module(f"{package.__name__}.loggers.logger")
        limit = self.loaders.limit_batches if limit_batches is None else limit_batches
        is_double = any(t.dtype == torch.float64 for t in copied.parameters())
        batches: list[str] = []
        samples: Counter[int] = Counter()
        tally = AnswerTally(method_signature(self.module, self.call.method), self.call.inputs)
        modes: dict[str, Mode] = {}
        copied.__dict__["log"] = _noting_modes(copied.log, modes)
        copied.__dict__[self.call.method] = tally.listening(getattr(copied, self.call.method))

        class BatchLog(package.Callback):  # type: ignore[name-defined, misc]
            def on_validation_batch_start(
                self, trainer: Any, module: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
            ) -> None:
                tensors = flatten(batch)[1]
                batches.append(digest(tensors))
                samples[dataloader_idx] += next((len(t) for t in tensors if t.dim()), 1)

            def on_validation_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, *args: Any) -> None:
                tally.end_batch(batch)

        with (
            same_random_numbers(self.loaders.dataloaders),
            tempfile.TemporaryDirectory() as directory,
            _quiet(package.__name__),
        ):
            trainer = trainer_view.with_moment(package.Trainer, self.module)(
                accelerator="cpu",
                devices=1,
                precision="64-true" if is_double else "32-true",
                logger=loggers.DummyLogger(),  # a step may use self.logger.experiment
                callbacks=[BatchLog()],
                limit_val_batches=limit,
                default_root_dir=directory,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                plugins=[environments.LightningEnvironment()],
            )
            with CallState(copied, *_METHODS).kept_in_trace(tensors=True):  # what steps write outside of the module
                logged = trainer.validate(copied, **self._data(), verbose=False)
        metrics = {name: float(value) for of_loader in logged for name, value in of_loader.items()}
        return LoopResult(
            metrics, tuple(batches), dict(samples), modes={**modes, **self.loaders.modes}, answers=tally.answers()
        )


def _lightning_of(module: nn.Module) -> str | None:
    """Return the Lightning package of the module: ``lightning.pytorch`` or ``pytorch_lightning``."""
    own = next((k.__module__ for k in type(module).__mro__ if k.__name__ == "LightningModule"), None)
    return None if own is None else own.rpartition(".core.")[0]


def _then(first: Callable[..., Any], second: Callable[[], Any]) -> Callable[..., None]:
    def both(*args: Any, **kwargs: Any) -> None:
        first(*args, **kwargs)
        second()

    return both


def _noting_modes(log: Callable[..., None], modes: dict[str, Mode]) -> Callable[..., None]:
    """Return a module's ``log`` that also keeps which logged torchmetrics are better when higher, and which not."""

    def logged(name: str, value: Any, *args: Any, **kwargs: Any) -> None:
        is_better_higher = getattr(value, "higher_is_better", None)
        if isinstance(is_better_higher, bool):
            modes[name] = "max" if is_better_higher else "min"
        log(name, value, *args, **kwargs)

    return logged


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


@contextlib.contextmanager
def _user_errors() -> Iterator[None]:
    """Turn exceptions of the user's code into a reason to skip: they say nothing about the file."""
    try:
        yield
    except SampleError:
        raise
    except Exception as error:
        reason = without_paths(first_line(error))
        raise SampleError(f"the validation loop does not run outside the training: {reason}") from error


@contextlib.contextmanager
def _quiet(package: str) -> Iterator[None]:
    """Hide the Trainer's messages on devices and loaders, which were shown when the training started."""
    with only_errors(f"{package}.utilities.rank_zero"), without_warnings():
        yield
