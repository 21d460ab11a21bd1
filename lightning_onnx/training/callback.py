"""The callback: what each hook does, and on which rank.

Longer than other files because the docstring and the signature of ``ONNXExport`` list every option and every logged
number; this list is the reference for users.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from typing_extensions import override

from lightning_onnx.artifacts import naming
from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.artifacts.store import Store
from lightning_onnx.checks.base import Check
from lightning_onnx.checks.parity import Parity
from lightning_onnx.deploy.hub import Hub, make_writable
from lightning_onnx.errors import ConfigurationError, ONNXExportError, first_line
from lightning_onnx.module.calls.names import InputNames
from lightning_onnx.module.calls.observer import ForwardObserver
from lightning_onnx.module.random_state import random_states_kept_for_training
from lightning_onnx.module.weights import state
from lightning_onnx.module.weights.loading import overrides
from lightning_onnx.option_names import with_known_options
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.methods import configs_of
from lightning_onnx.training.batch_hooks import check_batch_hook
from lightning_onnx.training.checkpoint_follower import CheckpointCallback, find_checkpoint_callback
from lightning_onnx.training.exporter import Exporter
from lightning_onnx.training.fit_result import FitResult
from lightning_onnx.training.interruption import Interruption
from lightning_onnx.training.jobs import Fit
from lightning_onnx.training.named_metrics import NamedMetrics
from lightning_onnx.training.options import CallbackConfig
from lightning_onnx.training.preflight import Preflight
from lightning_onnx.training.progress import stages
from lightning_onnx.training.ranks import wait_for_rank_zero
from lightning_onnx.training.ray_storage import kept_by_ray
from lightning_onnx.training.resuming import Earlier
from lightning_onnx.variants.base import Variant, by_name

_Axes = Mapping[str, Mapping[int, str] | Sequence[int]]


class ONNXExport(Callback):
    """Exports an ONNX artifact from a training run: complete, described, and proven equal to the module.

    Before the first epoch, the module is exported and checked once with its untrained weights, so that a module that
    cannot be exported fails before it is trained. At the end of ``fit``, the best weights are exported, the file is
    compared with the module in onnxruntime, and every logger of the run gets the artifact.

    Args:
        dirpath: Directory of the artifacts. Default: ``<save_dir>/<name>/<version>/onnx`` of the first logger, or
            ``default_root_dir/onnx`` without a logger. In a Ray worker, whose working directory is not kept: the
            same path below the run's or trial's directory in Ray's storage.
        filename: Name of the artifact's directory, a template as in ``ModelCheckpoint``
            (``"{epoch}-{val_loss:.2f}"``). Default: the checkpoint's name without ``.ckpt``, or
            ``"epoch=…-step=…"`` for live weights.
        when: ``"fit_end"`` exports once; ``"checkpoint"`` exports each checkpoint that the followed
            ``ModelCheckpoint`` keeps, to an artifact that is named after the checkpoint and removed with it.
        weights: At the end of fit, ``"best"`` exports the best checkpoint of the followed ``ModelCheckpoint``, or the
            live weights if there is none; ``"live"`` always exports the live weights.
        checkpoint: The ``ModelCheckpoint`` to follow. Default: the Trainer's first one that monitors a metric.
        method: Method to export, ``"forward"`` or any other, such as ``"predict_step"``. A list such as
            ``["encode", "decode"]`` gives one artifact with a file for each; ``sample``, ``input_names``,
            ``output_names``, ``dynamic_axes``, ``labels`` and ``contract`` are then dicts by method.
        sample: A call of the method: a tensor, a tuple of positional arguments, or a dict of keyword arguments.
            Default: the calls observed during training, or else the module's ``example_input_array``, or else the batch
            matched to the method's signature.
        input_names: Names of the graph's inputs, in order, or new names by the default ones: ``{"x": "images"}``.
            Names in a list that are all keys of the batch go to their entries. Default: the names of the method's
            parameters; for ``*args``, those of the batch's entries.
        output_names: Names of the graph's outputs, in order. Default: the keys of a dict or named tuple, otherwise
            ``output`` or ``output_0`` …
        opset_version: The opset of the file. Default: 20.
        dynamic_axes: As in ``torch.onnx.export``: ``{"input": {0: "batch"}}``; None or ``{}`` makes all dims static.
            ``"auto"``: the batch dim, and each dim whose size differed between calls.
        exclude_inputs: Keyword arguments to leave out of the graph if the method works without them. ``labels`` that
            are a sequence stay if more than a loss depends on them, such as what a decoder returns. A name that looks
            like a typing error is an error before training.
        engine: ``"dynamo"`` (torch.export based), ``"torchscript"``, or ``"auto"``: the first with a correct graph.
        target: Where the model will run: ``"onnxruntime>=1.17"``, ``"openvino"``, ``"tensorrt-10"`` or ``"ncnn"``. The
            file gets the highest opset and IR version that the target supports.
        runtimes: Runtimes whose outputs are compared with the module's: ``"onnxruntime"``, ``"openvino"``, ``"ncnn"``,
            ``"reference"``, or a provider such as ``"onnxruntime:TensorrtExecutionProvider"``.
        require: Those of ``runtimes`` that must be available: the check fails without them.
        checks: Checks to run on the file. Default: only ``lightning_onnx.Parity``.
        default_checks: Whether ``Parity`` runs if it is not among ``checks``. Default: no, with a warning; yes in the
            next version.
        variants: Other models to make from the first: ``lightning_onnx.Float16``, ``lightning_onnx.Int4``,
            ``lightning_onnx.Int8``, ``lightning_onnx.PT2``, ``lightning_onnx.Simplified``, or their names, such as
            ``"int8"``, for their defaults. A variant outside its budget is not kept, but the artifact is.
        test_data: Content of ``test_data_set_0``: ``"synthetic"`` values, ``"observed"`` ones, or nothing (None).
        preflight: What to do if the export before the first epoch fails: ``"raise"`` or ``"warn"``; False skips this
            export. While the module does not run in eval mode, it is tried again after each validation.
        on_failure: What to do if an export after training fails: ``"warn"`` or ``"raise"``.
        on_exception: Whether to export the best weights so far when training is interrupted or fails.
        background: With ``when="checkpoint"``, whether to write and check weights while training continues, in one
            thread and one process, which compute with one thread each. A new trace still pauses the training.
        log_artifacts: Which artifacts trackers get: ``"best"``, ``"all"``, or False. An artifact whose parity failed is
            never the best.
        register_as: Name under which to register the best artifact, in trackers that have a model registry.
        hub: Where to upload the best artifact at the end of fit, on the Hugging Face Hub: ``"user/name"``, or
            ``lightning_onnx.Hub``. The right to write is checked before training, which makes a missing repository.
        metadata: Text to embed in the model (a licence …).
        assets: Files and directories that callers need beside the model, such as ``"tokenizer.json"``; they are copied
            into the artifact.
        preprocess: What the graph does before the method, so that its inputs are raw: a module, a function on tensors,
            or the name of a method, such as ``"on_after_batch_transfer"``. Without such a name, ``sample`` is a raw
            input.
        postprocess: What the graph does with the method's result: a module, a function on tensors, or the name of a
            method. The file is compared with ``postprocess(module(preprocess(sample)))``.
        labels: Class names, in the order of the output. Default: those that the run knows (``datamodule.classes``,
            ``dataset.class_to_idx``, ``config.id2label``, hyperparameters).
        contract: What else to say of inputs and outputs in place of what is found: ``{"steps": ["divide by 255"],
            "ranges": {"images": [0, 1]}, "settings": {"threshold": 0.5}}``. False leaves the contract out.
        export_options: Other keyword arguments of ``torch.onnx.export``, such as ``custom_translation_table``.

    Attributes:
        artifact: The artifact of the best checkpoint of the last fit; if no checkpoint is the best, the newest one.
            None if it does not exist: no other artifact takes the place of the best.
        artifacts: All kept artifacts, oldest first.
        failures: One sentence for each failure.

    After ``ddp_spawn`` they are read from disk.

    Loggers get these numbers, at the step of the exported weights:

    - ``onnx/parity_passed``: 1 if parity passed, else 0.
    - ``onnx/max_abs_diff``: largest absolute difference over all outputs and all tried inputs.
    - ``onnx/max_rel_diff``: the same as a share of the output's largest magnitude.
    - ``onnx/runtimes_passed``: with ``runtimes``, 1 if none of them failed, else 0.
    - ``onnx/latency_ratio_batch_<n>``, ``onnx/latency_p50_ms_batch_<n>``: with the check ``Latency``.
    - ``onnx/metrics_passed``: with the check ``MetricParity``, 1 if it passed, else 0.
    - ``onnx/metrics/<metric>``: with the same check, each metric of the validation loop, with the file's outputs.
    - ``onnx/<variant>_passed``: with ``variants``, 1 if the variant was made and is within its budget, else 0.
    - ``onnx/<variant>_size_mib``, ``onnx/<variant>_max_rel_diff``: the same numbers for the variant.
    - ``onnx/<variant>_latency_ratio``: the variant's time divided by the model's, in onnxruntime with one thread.
    - ``onnx/<variant>_metric_drop``: the largest drop of a metric.
    - ``onnx/size_mib``: size of the model with its weights, in MiB.
    - ``onnx/export_seconds``: time from reading the weights to the checked file, in seconds.

    Raises:
        ConfigurationError: If an option is invalid.

    Example:
        >>> callback = ONNXExport(opset_version=17, output_names=["logits"])
        >>> callback.artifact is None
        True
    """

    @with_known_options
    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        *,
        when: Literal["fit_end", "checkpoint"] = "fit_end",
        weights: Literal["best", "live"] = "best",
        checkpoint: Any = None,
        method: str | Sequence[str] = "forward",
        sample: Any = None,
        input_names: InputNames | Mapping[str, InputNames] | None = None,
        output_names: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        opset_version: int | None = None,
        dynamic_axes: _Axes | Mapping[str, _Axes] | Literal["auto"] | None = "auto",
        exclude_inputs: Sequence[str] = ("labels",),
        engine: Literal["auto", "dynamo", "torchscript"] = "auto",
        target: str | None = None,
        checks: Sequence[Check] | None = None,
        default_checks: bool | None = None,
        variants: Sequence[Variant | str] = (),
        runtimes: Sequence[str] = ("onnxruntime",),
        require: Sequence[str] = (),
        test_data: Literal["synthetic", "observed"] | None = "synthetic",
        preflight: Literal["raise", "warn", False] = "raise",
        on_failure: Literal["warn", "raise"] = "warn",
        on_exception: bool = False,
        background: bool = True,
        log_artifacts: Literal["best", "all", False] = "best",
        register_as: str | None = None,
        hub: str | Hub | None = None,
        metadata: Mapping[str, str] | None = None,
        assets: Sequence[str | os.PathLike[str]] = (),
        preprocess: nn.Module | Callable[..., Any] | str | None = None,
        postprocess: nn.Module | Callable[..., Any] | str | None = None,
        labels: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
        contract: Mapping[str, Any] | Literal[False] | None = None,
        export_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        naming.check_filename(filename)
        self.options = CallbackConfig(
            when=when,
            weights=weights,
            filename=filename,
            checkpoint=checkpoint,
            preflight=preflight,
            on_failure=on_failure,
            on_exception=on_exception,
            background=background,
            log_artifacts=log_artifacts,
            register_as=register_as,
            hub=hub if hub is None or isinstance(hub, Hub) else Hub(hub),
        )
        self.configs = configs_of(
            method,
            sample=sample,
            input_names=input_names,
            output_names=output_names,
            opset_version=opset_version,
            dynamic_axes=dynamic_axes,
            exclude_inputs=exclude_inputs,
            engine=engine,
            target=target,
            checks=(Parity(),) if checks is None else checks,
            default_checks=default_checks,
            variants=by_name(variants),
            runtimes=runtimes,
            require=require,
            test_data=test_data,
            metadata=metadata,
            assets=assets,
            preprocess=preprocess,
            postprocess=postprocess,
            labels=labels,
            contract=contract,
            export_options=export_options,
        )
        if any(config.around.takes_raw_sample for config in self.configs) and sample is None:
            raise ConfigurationError(
                "preprocess=... is not the name of a method, so no call in training shows the raw inputs. Give one: "
                "sample=torch.zeros(1, 64, 64, 3, dtype=torch.uint8)."
            )
        if dirpath is not None and not isinstance(dirpath, (str, os.PathLike)):
            raise ConfigurationError(f"dirpath={dirpath!r} is not a path. Give one such as 'exported'.")
        self.dirpath = None if dirpath is None else os.fspath(dirpath)
        if self.dirpath is not None:
            naming.check_directory("dirpath", self.dirpath)
        self._result = FitResult()
        self._observers: tuple[ForwardObserver, ...] = ()
        self._exporter: Exporter | None = None
        self._resumed = Earlier()
        self._gathered: dict[str, torch.Tensor] | None = None
        self._epoch = 0
        self._preflight = Preflight(is_on=False)
        self._named_metrics = NamedMetrics()
        self._interruption = Interruption(is_export_wanted=self.options.on_exception)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to a fit in this process; the results stay."""
        own = {name: value for name, value in self.__dict__.items() if name not in ("log", "log_dict")}  # the module's
        return {**own, "_exporter": None, "_observers": (), "_gathered": None}

    @property
    def config(self) -> ExportConfig:
        """What to export and how; of several methods, the options of the first."""
        return self.configs[0]

    @property
    def artifact(self) -> ONNXArtifact | None:
        """The best artifact of the last fit; if no checkpoint is the best, the newest."""
        return self._result.artifact

    @property
    def artifacts(self) -> list[ONNXArtifact]:
        """All kept artifacts, oldest first."""
        return self._result.artifacts

    @property
    def failures(self) -> list[str]:
        """One sentence for each failure."""
        return self._result.failures

    @property
    @override
    def state_key(self) -> str:
        methods = [config.method for config in self.configs]
        return self._generate_state_key(
            dirpath=self.dirpath,
            filename=self.options.filename,
            when=self.options.when,
            method=methods[0] if len(methods) == 1 else methods,
            weights=self.options.weights,
            opset_version=self.configs[0].opset_version,
            monitor=getattr(self.options.checkpoint, "monitor", None),
        )

    @override
    def state_dict(self) -> dict[str, Any]:
        return Earlier.state(None if self._exporter is None else self._exporter.store)

    @override
    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if self._exporter is not None:
            with self._exporter.log.recorded():
                self._exporter.moments.saving(pl_module)

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = Earlier.read(state_dict)

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self._result.clear()
        self._resumed = Earlier()  # a checkpoint that is resumed from is read after this hook
        self._exporter = self._gathered = None
        self._preflight = Preflight(is_on=self.options.preflight is not False)
        self._named_metrics = NamedMetrics(self.configs[0])
        self._interruption = Interruption(is_export_wanted=self.options.on_exception)
        for config in self.configs:
            check_batch_hook(trainer, pl_module, config.preprocess)
            config.around.check_names(pl_module)
        self._observers = tuple(ForwardObserver(pl_module, config.around.observed_method) for config in self.configs)
        followed = self._followed(trainer)
        if self.options.when == "checkpoint" and followed is None and not _is_fast_dev_run(trainer):
            raise ConfigurationError(
                'when="checkpoint" follows a ModelCheckpoint, but the Trainer has none. Add one to its callbacks, or '
                'export at the end of fit (when="fit_end").'
            )
        target = trainer.strategy.broadcast(self._resolve_dirpath(trainer))
        with self._on_rank_zero(trainer, "raise") as here:
            if here:
                if self.options.hub is not None and not _is_fast_dev_run(trainer):
                    make_writable(self.options.hub)
                store = Store(target)
                store.open()
                self._exporter = Exporter(
                    self.configs,
                    self.options,
                    store,
                    self._observers,
                    followed,
                    self._interruption,
                    _is_fast_dev_run(trainer),
                )
                self._result.follow(self._exporter)

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for observer in self._observers:
            observer.attach()

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch = trainer.current_epoch
        if self._exporter is not None:
            with self._exporter.log.recorded():
                self._exporter.resume(trainer, self._resumed)
                self._exporter.moments.begin(pl_module)
        seen = self._exporter is not None and self._exporter.can_trace
        if self._preflight.is_due and trainer.strategy.broadcast(seen):
            self._run_preflight(trainer, pl_module)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        for observer in self._observers:
            observer.see_batch(batch, _batch_size(trainer.train_dataloader, 0))
        self._follow(trainer, pl_module)
        self._run_preflight_again(trainer, pl_module)

    @override
    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        for observer in self._observers:
            observer.see_batch(batch, _batch_size(trainer.val_dataloaders, dataloader_idx))

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._epoch = trainer.current_epoch
        if self._preflight.is_due:
            self._run_preflight(trainer, pl_module)

    def _run_preflight(self, trainer: Trainer, pl_module: LightningModule) -> None:
        gathered = self._gather(pl_module)
        waits = False
        with self._on_rank_zero(trainer, str(self.options.preflight)):
            if self._exporter is not None:
                with stages(trainer) as progress, self._interruption.ends(trainer, is_preflight=True):
                    waits = not self._exporter.preflight(Fit(trainer, pl_module, progress.step), gathered)
        self._preflight.tried(waits=trainer.strategy.broadcast(waits))

    def _run_preflight_again(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Try again in the first hook after a validation, when its checkpoint is already saved."""
        if self._preflight.is_due_again:
            self._run_preflight(trainer, pl_module)

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow(trainer, pl_module)

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._named_metrics.validated(trainer)
        if not trainer.sanity_checking:
            self._preflight.validated()

    @override
    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow(trainer, pl_module)
        self._run_preflight_again(trainer, pl_module)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow(trainer, pl_module)
        self._preflight.validated()

    def _follow(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Follow the checkpoints, only on rank zero, without waiting for other ranks."""
        if self._exporter is not None and not trainer.sanity_checking:
            with self._exporter.log.recorded(), self._interruption.ends(trainer):
                self._exporter.moments.look(pl_module)
                if self.options.when == "checkpoint":
                    self._exporter.follow(Fit(trainer, pl_module))

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._follow(trainer, pl_module)
        self._gathered = self._gather(pl_module)

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._observers:
            return
        self._detach()
        if not (self._preflight.waits and overrides(type(pl_module), "on_fit_end")):
            self._finish(trainer, pl_module)

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        try:
            with self._on_rank_zero(trainer, self.options.on_failure):
                if self._exporter is not None:
                    errors = self._exporter.log.errors
                    before = len(errors)
                    self._exporter.resume(trainer, self._resumed)  # for a finished run, this is the only hook
                    with stages(trainer) as progress:
                        self._exporter.finish(Fit(trainer, pl_module, progress.step), self._epoch, self._gathered)
                    if self.options.on_failure == "raise" and errors[before:]:
                        raise errors[before]
        finally:
            self._close()

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if not self._observers:
            return
        self._detach()
        if self._exporter is not None:
            with (
                self._exporter.log.recorded(),
                random_states_kept_for_training(),
            ):  # the training's own error is raised
                is_interrupt = isinstance(exception, (KeyboardInterrupt, SystemExit))
                self._exporter.break_off(Fit(trainer, pl_module), self._epoch, is_interrupt=is_interrupt)
        self._close()

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if not self._observers:
            return
        self._detach()
        if stage == "fit" and self._preflight.waits:  # the module's own on_fit_end, which may complete it, has run
            self._finish(trainer, pl_module)
        self._close()

    def _close(self) -> None:
        if self._exporter is not None:
            try:
                self._exporter.close()
            finally:
                self._result.hand_over()
        self._observers, self._gathered = (), None

    def _detach(self) -> None:
        for observer in self._observers:
            observer.detach()

    def _followed(self, trainer: Trainer) -> CheckpointCallback | None:
        """Return the ModelCheckpoint to follow."""
        given = self.options.checkpoint
        if given is not None and id(given) not in map(id, trainer.callbacks):  # type: ignore[attr-defined]
            raise ConfigurationError(
                "checkpoint= is not one of the Trainer's callbacks, so it will save nothing. Give the same object to "
                "both: Trainer(callbacks=[checkpoint, ONNXExport(checkpoint=checkpoint)])."
            )
        if given is not None:
            return given
        return find_checkpoint_callback(trainer, must_monitor=self.options.when != "checkpoint")

    def _gather(self, pl_module: LightningModule) -> dict[str, torch.Tensor] | None:
        """Gather sharded parameters; every rank must call this. Returns None if there are none."""
        if not state.is_sharded(pl_module):
            return None
        return state.gathered(pl_module)

    @contextlib.contextmanager
    def _on_rank_zero(self, trainer: Trainer, on_error: str) -> Iterator[bool]:
        """Run the block's work only on rank zero; every rank sees a failure, and none waits forever.

        Args:
            trainer: The trainer.
            on_error: ``"raise"`` raises the failure on every rank; anything else records it.

        Yields:
            Whether this is rank zero.
        """
        error: Exception | None = None
        here = trainer.is_global_zero
        try:
            with (
                random_states_kept_for_training() if here else contextlib.nullcontext(),
                self._interruption.ends(trainer),
            ):
                yield here
        except Exception as raised:
            error = raised
        except BaseException:
            if here:
                wait_for_rank_zero(trainer, is_interrupted=True)
            raise
        wait_for_rank_zero(trainer)
        failed = trainer.strategy.broadcast(None if error is None else first_line(error))
        if failed is None:
            return
        if on_error == "raise":
            raise error if error is not None else ONNXExportError(f"the ONNX export failed on rank zero: {failed}")
        if error is not None and self._exporter is not None:
            self._exporter.log.record(error)

    def _resolve_dirpath(self, trainer: Trainer) -> str:
        if _is_fast_dev_run(trainer):  # never removed, so that users can look at the artifact
            return tempfile.mkdtemp(prefix="lightning-onnx-")
        if self.dirpath is not None:
            return naming.resolve(self.dirpath)
        return naming.resolve(kept_by_ray(naming.default_dirpath(trainer.loggers, trainer.default_root_dir)))


def _is_fast_dev_run(trainer: Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))


def _batch_size(loaders: Any, index: int) -> int | None:
    """Return the loader's batch size; None if it has none."""
    loader = loaders[index] if isinstance(loaders, (list, tuple)) and index < len(loaders) else loaders
    size = getattr(loader, "batch_size", None)
    return size if isinstance(size, int) else None
