"""Which hook does what, on which rank, in which order; no numerics."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from lightning.pytorch.utilities.seed import isolate_rng
from typing_extensions import override

from lightning_onnx import artifact as artifacts
from lightning_onnx import matching, pipeline, store, trackers, weights
from lightning_onnx.artifact import ONNXArtifact
from lightning_onnx.checks.base import Check
from lightning_onnx.checks.parity import Parity
from lightning_onnx.config import ExportConfig, choose
from lightning_onnx.errors import ConfigurationError, ONNXExportError, first_line
from lightning_onnx.observe import ForwardObserver, Observation
from lightning_onnx.pipeline import Plan
from lightning_onnx.scripted import has_scripts
from lightning_onnx.structure import flatten


class ONNXExport(Callback):
    """Leaves an ONNX artifact behind a training run: complete, described, and proven equal to the module.

    Before the first epoch the module is exported once with its untrained weights and checked, so that what cannot be
    exported stops training there. At the end of ``fit`` the best weights are exported, compared with the module in
    onnxruntime, and filed with every logger of the run.

    Args:
        dirpath: Where artifacts go. Default: ``<save_dir>/<name>/<version>/onnx`` of the first logger, without a
            logger ``default_root_dir/onnx``.
        filename: Name of the artifact's directory, a template as in ``ModelCheckpoint``
            (``"{epoch}-{val_loss:.2f}"``). Default: the checkpoint's name without its ending, or
            ``"epoch=…-step=…"`` for live weights.
        weights: ``"best"`` takes the best checkpoint of the followed ``ModelCheckpoint``, and the live weights where
            there is none; ``"live"`` takes the live ones.
        checkpoint: The ``ModelCheckpoint`` to follow. Default: the Trainer's first one that monitors a metric.
        method: Method to export, ``"forward"`` or any other, such as ``"predict_step"``.
        sample: A call of the method: a tensor, a tuple of positional arguments, or a dict of keyword arguments.
            Default: what the method really got during training, else the module's ``example_input_array``, else the
            batch matched to the method's signature.
        input_names: Names of the graph's inputs, in order. Default: the names of the method's parameters.
        output_names: Names of the graph's outputs, in order. Default: the keys of a dict or named tuple, else
            ``output`` or ``output_0`` …
        opset_version: The opset of the file. Default: 20.
        dynamic_axes: As in ``torch.onnx.export``: ``{"input": {0: "batch"}}``; None or ``{}`` makes all dims static.
            ``"auto"``: the batch dim and each dim that differed between calls.
        exclude_inputs: Keyword arguments that are left out of the graph where the method works without them.
        engine: ``"dynamo"`` (torch.export based), ``"torchscript"``, or ``"auto"``: the first that is right.
        checks: What is checked on the file; see :class:`lightning_onnx.Parity`.
        test_data: What ``test_data_set_0`` holds: ``"synthetic"`` values, ``"observed"`` ones, or nothing (None).
        preflight: What a failed export before the first epoch does: ``"raise"``, ``"warn"``; False exports nothing
            before the end.
        on_failure: What a failed export after training does: ``"warn"`` or ``"raise"``.
        on_exception: Whether to export the best weights so far when training is interrupted or fails.
        log_artifacts: What trackers get: ``"best"``, ``"all"``, or False. An artifact whose parity failed is never
            the best.
        metadata: Text that is embedded in the model (labels, thresholds, licence …).
        export_options: Further keywords of ``torch.onnx.export``, such as ``custom_translation_table``.

    Attributes:
        artifact: The best, else the newest artifact of the last fit; None where there is none.
        artifacts: All artifacts that are kept.
        failures: What went wrong, in sentences.

    Loggers get, at the last step of training:

    - ``onnx/parity_passed``: 1 where parity passed, else 0.
    - ``onnx/max_abs_diff``: largest absolute difference over all outputs and inputs tried.
    - ``onnx/max_rel_diff``: the same as a share of the output's largest magnitude.
    - ``onnx/size_mib``: size of the model with its weights, in MiB.
    - ``onnx/export_seconds``: time from taking the weights to the checked file, in seconds.

    Raises:
        ConfigurationError: If an option cannot be meant.

    Example:
        >>> callback = ONNXExport(opset_version=17, output_names=["logits"])
        >>> callback.artifact is None
        True
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        *,
        weights: str = "best",
        checkpoint: Any = None,
        method: str = "forward",
        sample: Any = None,
        input_names: Sequence[str] | None = None,
        output_names: Sequence[str] | None = None,
        opset_version: int | None = None,
        dynamic_axes: Mapping[str, Any] | str | None = "auto",
        exclude_inputs: Sequence[str] = ("labels",),
        engine: str = "auto",
        checks: Sequence[Check] = (Parity(),),
        test_data: str | None = "synthetic",
        preflight: str | bool = "raise",
        on_failure: str = "warn",
        on_exception: bool = False,
        log_artifacts: str | bool = "best",
        metadata: Mapping[str, str] | None = None,
        export_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        choose("weights", weights, ("best", "live"))
        choose("preflight", preflight, ("raise", "warn", False))
        choose("on_failure", on_failure, ("warn", "raise"))
        choose("on_exception", on_exception, (True, False))
        choose("log_artifacts", log_artifacts, ("best", "all", False))
        store.check_filename(filename)
        _check_checkpoint(checkpoint)
        self.config = ExportConfig(
            method=method,
            sample=sample,
            input_names=input_names,
            output_names=output_names,
            opset_version=opset_version,
            dynamic_axes=dynamic_axes,
            exclude_inputs=exclude_inputs,
            engine=engine,
            checks=checks,
            test_data=test_data,
            metadata=metadata,
            export_options=export_options,
        )
        self.dirpath = None if dirpath is None else os.fspath(dirpath)
        self.filename = filename
        self.weights = weights
        self.checkpoint = checkpoint
        self.preflight = preflight
        self.on_failure = on_failure
        self.export_on_exception = on_exception
        self.log_artifacts = log_artifacts
        self.artifact: ONNXArtifact | None = None
        self.artifacts: list[ONNXArtifact] = []
        self.failures: list[str] = []
        self._observer: ForwardObserver | None = None
        self._plan: Plan | None = None
        self._planned_calls = 0
        self._target: Path | None = None
        self._epoch = 0
        self._preflight_due = False
        self._temporary: tempfile.TemporaryDirectory[str] | None = None

    @property
    @override
    def state_key(self) -> str:
        return self._generate_state_key(
            dirpath=self.dirpath,
            filename=self.filename,
            method=self.config.method,
            weights=self.weights,
            opset_version=self.config.opset_version,
            monitor=getattr(self.checkpoint, "monitor", None),
        )

    # Before training ------------------------------------------------------------------------------------------------

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        self.artifact = None
        self.failures = []
        self._plan = None
        self._preflight_due = self.preflight is not False
        if not callable(getattr(pl_module, self.config.method, None)):
            raise ConfigurationError(
                f"method={self.config.method!r}: {type(pl_module).__name__} has no such method. Name one that it has."
            )
        target = trainer.strategy.broadcast(self._resolve_dirpath(trainer))
        self._target = Path(target)
        with self._on_rank_zero(trainer, "raise"):
            artifacts.check_writable(self._target)
            if not _is_quick_try(trainer):
                artifacts.sweep(self._target)

    @override
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._observer = ForwardObserver(pl_module, self.config.method)
        self._observer.attach()

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._epoch = trainer.current_epoch
        seen = self._observer is not None and (bool(self._observer.calls) or self.config.sample is not None)
        if self._preflight_due and trainer.strategy.broadcast(seen):
            self._run_preflight(trainer, pl_module)

    @override
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self._observer is not None:
            self._observer.see_batch(batch, _batch_size(trainer.train_dataloader, 0, batch))

    @override
    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        if self._observer is not None:
            self._observer.see_batch(batch, _batch_size(trainer.val_dataloaders, dataloader_idx, batch))

    @override
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._epoch = trainer.current_epoch
        if self._preflight_due:
            self._run_preflight(trainer, pl_module)

    def _run_preflight(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._preflight_due = False
        with self._on_rank_zero(trainer, str(self.preflight)) as here:
            if here:
                copied = weights.private_copy(pl_module)
                weights.merge_adapters(copied)
                self._plan = self._prepare(pl_module, copied)

    def _prepare(self, pl_module: LightningModule, copied: torch.nn.Module) -> Plan:
        assert self._observer is not None
        started = time.perf_counter()
        rank_zero_info(f"ONNX export: tracing {type(pl_module).__name__}.{self.config.method}")
        plan = pipeline.prepare(copied, self._observations(pl_module), self.config)
        self._planned_calls = self._observer.count()
        for note in plan.notes:
            rank_zero_warn(f"ONNX export: {note}")
        rank_zero_info(
            f"ONNX export: {plan.graph.signature} at opset {plan.config.opset} by engine "
            f"'{plan.graph.traced.engine}' in {time.perf_counter() - started:.1f} s"
        )
        return plan

    def _observations(self, pl_module: LightningModule) -> list[Observation]:
        assert self._observer is not None
        if self.config.sample is not None:
            call = matching.as_call(self.config.sample)
            sample = matching.sample_of(pl_module, self.config.method, call)
            seen = [o for o in self._observer.observations() if o.samples[0].paths == sample.paths]
            given = Observation.of(sample, "the sample given")
            return [dataclasses.replace(given, shapes=(*given.shapes, *(s for o in seen for s in o.shapes)))]
        found = self._observer.observations()
        example = getattr(pl_module, "example_input_array", None)
        if not found and example is not None and self.config.method == "forward":
            with contextlib.suppress(ConfigurationError):
                sample = matching.sample_of(pl_module, "forward", matching.as_call(example))
                found.append(Observation.of(sample, "example_input_array"))
        if not found:
            source = "the batch matched to the method's signature"
            batches = self._observer.batches
            found = matching.match(self._observer.signature, batches, source, self.config.method)
        return found

    # After training -------------------------------------------------------------------------------------------------

    @override
    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._observer is None:
            return
        self._observer.detach()
        with self._on_rank_zero(trainer, self.on_failure) as here:
            if here:
                self._export(trainer, pl_module)
        self._observer = None
        self._plan = None

    @override
    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._observer is None:
            return
        self._observer.detach()
        if self.export_on_exception and trainer.is_global_zero and self._observer.count():
            try:
                self._export(trainer, pl_module)
            except Exception as error:  # the training's own error is the one to raise
                self._record(error)
        self._observer = None
        self._plan = None

    @override
    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if self._observer is not None:
            self._observer.detach()
            self._observer = None

    def _export(self, trainer: Trainer, pl_module: LightningModule) -> None:
        started = time.perf_counter()
        copied = weights.private_copy(pl_module)
        source, metrics = self._load_weights(trainer, copied)
        weights.merge_adapters(copied)
        plan = self._current_plan(pl_module, copied)
        with self._directory(trainer) as dirpath:
            name = store.artifact_name(self.filename, source, metrics)
            directory = store.free_directory(dirpath, name)
            made = pipeline.produce(plan, copied, directory, source, started=started)
            self._keep(made)
            if not made.proven and plan is self._plan:  # traced before training: attributes may have changed since
                fresh = self._prepare(pl_module, copied)
                store.remove(made.directory)
                made = pipeline.produce(fresh, copied, directory, source, started=started)
                self._keep(made)
            self._tell(made)
            if not _is_quick_try(trainer):
                self._publish(trainer, made)

    def _keep(self, made: ONNXArtifact) -> None:
        self.artifact = made
        self.artifacts = [*(a for a in self.artifacts if a.directory != made.directory), made]

    def _load_weights(self, trainer: Trainer, copied: torch.nn.Module) -> tuple[weights.Source, dict[str, Any]]:
        precision = str(trainer.precision)
        device = trainer.strategy.root_device.type
        metrics = dict(trainer.callback_metrics)
        live = weights.Source("live", self._epoch, trainer.global_step, precision=precision, device=device)
        followed = self._followed(trainer)
        if self.weights == "live" or followed is None:
            return live, metrics
        path = followed.best_model_path
        if not path:
            rank_zero_warn("ONNX export: the followed ModelCheckpoint has saved nothing; the live weights are exported")
            return live, metrics
        content = weights.read_checkpoint(path)
        weights.load_checkpoint(copied, content)
        score = None if followed.best_model_score is None else float(followed.best_model_score)
        score = score if score is not None and math.isfinite(score) else None
        name = os.path.basename(path)
        best = weights.Source(
            "best", content.get("epoch"), content.get("global_step"), name, followed.monitor, score, precision, device
        )
        return best, metrics if score is None else metrics | {followed.monitor: torch.tensor(score)}

    def _followed(self, trainer: Trainer) -> Any:
        """The ModelCheckpoint to follow, known by what it has: it may come from either package of Lightning."""
        if self.checkpoint is not None:
            return self.checkpoint
        found = [
            c for c in trainer.checkpoint_callbacks if getattr(c, "monitor", None) and hasattr(c, "best_model_path")
        ]
        return found[0] if found else None

    def _current_plan(self, pl_module: LightningModule, copied: torch.nn.Module) -> Plan:
        """The plan of preflight, unless the module or its calls have changed since."""
        plan = self._plan
        if plan is None or plan.structure != weights.structure_of(copied) or has_scripts(copied):
            return self._prepare(pl_module, copied)
        assert self._observer is not None
        if self._observer.count() != self._planned_calls:
            request = pipeline.derive_request(copied, self._observations(pl_module), self.config)
            if not plan.covers(request):
                return self._prepare(pl_module, copied)
            plan = self._plan = pipeline.with_calls(plan, copied, request)
        return plan

    @contextlib.contextmanager
    def _directory(self, trainer: Trainer) -> Iterator[Path]:
        assert self._target is not None
        if _is_quick_try(trainer):
            # lives as long as the callback, so that a quick try can be looked at
            self._temporary = tempfile.TemporaryDirectory(prefix="lightning-onnx-")
            yield Path(self._temporary.name)
        else:
            yield self._target

    def _tell(self, made: ONNXArtifact) -> None:
        for check in made.manifest["checks"]:
            line = f"ONNX export: {check['name']} {check['status']}" + (
                f": {check['reason']}" if check["reason"] else ""
            )
            if check["status"] == "passed":
                rank_zero_info(line)
            else:
                rank_zero_warn(line)
            if check["status"] == "failed":
                self.failures.append(line)
        rank_zero_info(f"ONNX export: wrote {made.directory} in {made.manifest['scalars']['export_seconds']} s")

    def _publish(self, trainer: Trainer, made: ONNXArtifact) -> None:
        if self.log_artifacts is False:
            return
        source = made.manifest["source"]
        aliases = ["latest", f"epoch={source['epoch']}"]
        if made.passed:
            aliases.append("best")
        elif self.log_artifacts == "best":
            rank_zero_warn("ONNX export: not given to the loggers, because a check failed (log_artifacts='all' would)")
            return
        for logger in trainer.loggers:
            try:
                trackers.publish(logger, made, aliases, trainer.global_step)
            except Exception as error:  # one tracker's failure stops neither the others nor the run
                self._record(error, f"{type(logger).__name__} did not take the artifact")

    # Ranks and failures ---------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _on_rank_zero(self, trainer: Trainer, on_error: str) -> Iterator[bool]:
        """Run the block's work on rank zero; every rank learns of its failure, none waits for ever."""
        error: Exception | None = None
        here = trainer.is_global_zero
        try:
            with isolate_rng() if here else contextlib.nullcontext():
                yield here
        except Exception as raised:
            error = raised
        failed = trainer.strategy.broadcast(None if error is None else first_line(error))
        if failed is None:
            return
        if on_error == "raise":
            raise error if error is not None else ONNXExportError(f"the ONNX export failed on rank zero: {failed}")
        if error is not None:
            self._record(error)

    def _record(self, error: Exception, what: str = "failed") -> None:
        self.failures.append(f"{what}: {type(error).__name__}: {error}")
        rank_zero_warn(f"ONNX export {self.failures[-1]}")

    def _resolve_dirpath(self, trainer: Trainer) -> str:
        if self.dirpath is not None:
            return store.local(self.dirpath, "dirpath")
        if _is_quick_try(trainer):
            return tempfile.gettempdir()
        return store.local(store.default_dirpath(trainer.loggers, trainer.default_root_dir), "the run's directory")


def _is_quick_try(trainer: Trainer) -> bool:
    return bool(getattr(trainer, "fast_dev_run", False))


def _check_checkpoint(checkpoint: Any) -> None:
    if checkpoint is not None and not hasattr(checkpoint, "best_model_path"):
        raise ConfigurationError(
            f"checkpoint={checkpoint!r} is no ModelCheckpoint. Give the one of the Trainer's callbacks to follow."
        )


def _batch_size(loaders: Any, index: int, batch: Any) -> int | None:
    """The loader's batch size; of a loader that has none, the size of the batch's first dim."""
    loader = loaders[index] if isinstance(loaders, (list, tuple)) and index < len(loaders) else loaders
    size = getattr(loader, "batch_size", None)
    if isinstance(size, int):
        return size
    tensors = flatten(batch)[1]
    return next((t.shape[0] for t in tensors if t.dim()), None)
