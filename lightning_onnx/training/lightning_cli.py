"""``python main.py export``: a subcommand of any LightningCLI, next to fit, validate, test and predict."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningCLI
from typing_extensions import override

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.artifacts.naming import check_directory
from lightning_onnx.checks.metrics import MetricParity
from lightning_onnx.errors import ConfigurationError, ONNXExportError, RuntimeUnavailable, WeightsError
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.from_checkpoint import export_module
from lightning_onnx.pipeline.methods import BY_METHOD
from lightning_onnx.printable import printable
from lightning_onnx.training.best_checkpoint import find_checkpoint
from lightning_onnx.training.callback import ONNXExport
from lightning_onnx.training.cli_values import in_one_line
from lightning_onnx.training.run_directories import run_directories

if TYPE_CHECKING:
    from lightning.pytorch.cli import ArgsType, LightningArgumentParser

_ON_THE_CPU = {
    "accelerator": "cpu",
    "devices": 1,
    "num_nodes": 1,
    "strategy": "auto",
    "precision": None,
    "logger": False,
}
"""Options of the Trainer for ``export``, which needs no device that training needed, and logs nothing."""

_FOUND = ("best", "last")

_USAGE = "%(prog)s [--config FILE] [--ckpt_path {best,last,FILE}] [--directory DIR] [option ...]"
"""In place of a list of all options, those of the Trainer included, which would hide what is wrong with one of them."""


class ExportCommand(LightningCLI):
    """Adds the subcommand ``export``; a base class for a LightningCLI of one's own, before any other.

    The options are those of ``export`` below it: ``--ckpt_path``, ``--directory``, ``--opset_version`` and so on. If
    the configuration has an ``ONNXExport`` among the callbacks, its options are the defaults.

    Example:
        >>> class MyCLI(ExportCommand, LightningCLI):
        ...     pass
    """

    @classmethod
    @override
    def subcommands(cls) -> dict[str, set[str]]:  # called in the same way
        """Add ``export``."""
        return {**super().subcommands(), "export": {"model", "datamodule"}}

    @override
    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, Any], subparser_kwargs: dict[str, Any]
    ) -> None:
        """Give the Trainer the method ``export``, whose parameters are the subcommand's options.

        Raises:
            RuntimeUnavailable: If jsonargparse is not installed.
        """
        if importlib.util.find_spec("jsonargparse") is None:
            raise RuntimeUnavailable(
                "jsonargparse is not installed. Install it: pip install 'jsonargparse[signatures]>=4.27.7'"
            )
        self.trainer_class = _with_export(self.trainer_class)
        own = {"usage": _USAGE, **subparser_kwargs.get("export", {})}
        super().setup_parser(add_subcommands, main_kwargs, {**subparser_kwargs, "export": own})

    @override
    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser; that of ``export`` says in one line what is wrong with a value."""
        parser = super().init_parser(**kwargs)
        if kwargs.get("usage") == _USAGE:
            complain = parser.error

            def error(message: str, ex: Exception | None = None) -> NoReturn:
                complain(in_one_line(message), ex)

            parser.error = error  # type: ignore[method-assign]
        return parser

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Replace ``best`` by the checkpoint that it stands for, whose hyperparameters then count as for a path."""
        super().parse_arguments(parser, args)
        if self.config.get("subcommand") != "export":
            return
        given = self.config["export"]
        which = given.get("ckpt_path") or "best"
        if which in _FOUND:
            with _errors_told():
                which = str(find_checkpoint(which, self._run_directories()))
            sys.stderr.write(printable(f"export: the checkpoint is {which}") + "\n")
        given["ckpt_path"] = which

    def _run_directories(self) -> list[Path]:
        given = self.config["export"].as_dict()
        forced = [value for name, value in given.items() if name not in ("trainer", "model", "data")]
        return run_directories(given["trainer"], [self.trainer_defaults.get("callbacks"), forced])

    @override
    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the Trainer; for ``export`` one on the CPU."""
        if self.subcommand == "export":
            known = self.config_init["export"]["trainer"]
            kwargs = {**{name: value for name, value in _ON_THE_CPU.items() if name in known}, **kwargs}
        trainer = super().instantiate_trainer(**kwargs)
        if not hasattr(trainer, "export"):  # the Trainer was made by a function
            trainer.export = _Exporting.export.__get__(trainer)  # type: ignore[attr-defined]
        return trainer


class ONNXCLI(ExportCommand, LightningCLI):
    """A LightningCLI with the subcommand ``export``: ``python main.py export --config ... --ckpt_path best``.

    Takes what ``LightningCLI`` takes.

    Example:
        >>> cli = ONNXCLI(Classifier, Digits)  # doctest: +SKIP
    """


def _with_export(trainer_class: type[Trainer] | Callable[..., Trainer]) -> type[Trainer]:
    """Return a subclass with the method; its constructor is that of the class, or the function."""
    if not isinstance(trainer_class, type):
        from jsonargparse import class_from_function  # type: ignore[attr-defined]

        trainer_class = class_from_function(trainer_class)
    return type(
        trainer_class.__name__, (trainer_class,), {"export": _Exporting.export, "__module__": trainer_class.__module__}
    )


class _Exporting:
    """Holds the method that a Trainer gets."""

    def export(
        self,
        model: LightningModule,
        datamodule: LightningDataModule | None = None,
        ckpt_path: str | None = "best",
        directory: str | None = None,
        method: str | None = None,
        opset_version: int | None = None,
        target: str | None = None,
        input_names: list[str] | None = None,
        output_names: list[str] | None = None,
        dynamic_axes: dict[str, dict[int, str]] | None = None,
        static: bool = False,
        engine: str | None = None,
        variants: list[str] | None = None,
        runtimes: list[str] | None = None,
        metadata: dict[str, str] | None = None,
        metrics: bool = False,
        weights_only: bool | None = None,
    ) -> None:
        """Export a checkpoint to ONNX, with its checks.

        Args:
            model: The module.
            datamodule: Its batches are the sample; else the module's own loaders, or its ``example_input_array``.
            ckpt_path: A checkpoint, ``best`` or ``last`` of the newest run.
            directory: The artifact's directory; default: the checkpoint's name, here.
            method: The method to export; default: those of the callback, or forward.
            opset_version: The opset; default: 20, or the target's.
            target: The program that is to load the file, such as ``onnxruntime>=1.17``.
            input_names: Names of the inputs.
            output_names: Names of the outputs.
            dynamic_axes: Names of the dynamic dims by input; default: the batch, and what varies in the data.
            static: Whether all dims are static.
            engine: The engine: auto, dynamo or torchscript.
            variants: Other models to make: fp16, int4, int8, pt2, simplified.
            runtimes: Runtimes to compare in.
            metadata: Metadata of the file.
            metrics: Whether to run the validation loop with the module and with the file.
            weights_only: Accepted because the configuration of ``fit`` has it; no code in a checkpoint ever runs.
        """
        given: dict[str, Any] = {
            "method": method,
            "opset_version": opset_version,
            "target": target,
            "input_names": input_names,
            "output_names": output_names,
            "dynamic_axes": dynamic_axes,
            "engine": engine,
            "variants": variants,
            "runtimes": runtimes,
            "metadata": metadata,
        }
        with _errors_told():
            told = {name: value for name, value in given.items() if value is not None}
            configs = options_of(self, told, static=static, metrics=metrics)
            checkpoint = str(ckpt_path)
            name = f"{Path(checkpoint).name.removesuffix('.ckpt')}.onnx-export"
            check_directory("--directory", name if directory is None else directory)
            place = Path(name if directory is None else directory)
            if place.exists():
                raise ConfigurationError(f"{place} exists. Remove it, or choose another one with --directory.")
            with configuration_named(checkpoint):
                artifact = export_module(model, checkpoint, place, configs, data=datamodule)
        sys.stdout.write(printable(f"{artifact.report.text()}\n\n{checkpoint}\n{artifact.directory}") + "\n")
        _end(artifact)


def options_of(trainer: object, given: Mapping[str, Any], *, static: bool, metrics: bool) -> tuple[ExportConfig, ...]:
    """Return the options by method: those of the Trainer's ``ONNXExport`` if it has one, and what was given.

    Args:
        trainer: The Trainer, with its callbacks.
        given: Options of the command line.
        static: Whether all dims are static.
        metrics: Whether to run the validation loop.

    Raises:
        ConfigurationError: If an option of one method is given, and there are several.
    """
    callbacks: list[Any] = list(getattr(trainer, "callbacks", ()))
    configs = next((c.configs for c in callbacks if isinstance(c, ONNXExport)), (ExportConfig(),))
    changes = {**given, **({"dynamic_axes": None} if static else {})}
    if "method" in changes:
        named = tuple(config for config in configs if config.method == changes["method"])
        if not named and len(configs) > 1:  # what the callback says of its methods is not true of another one
            changes = {
                **{f.name: f.default for f in dataclasses.fields(ExportConfig) if f.name in BY_METHOD},
                **changes,
            }
        configs = named or configs[:1]
    of_one = [name for name in given if name in BY_METHOD]
    if of_one and len(configs) > 1:
        methods = [config.method for config in configs]
        raise ConfigurationError(
            f"--{of_one[0]} is for one method, but the callback exports {methods}. Choose one with --method, or give "
            f"{of_one[0]} to the callback."
        )
    if metrics and not any(isinstance(check, MetricParity) for check in configs[0].checks):
        changes["checks"] = (*configs[0].checks, MetricParity())
    return tuple(dataclasses.replace(config, **changes) for config in configs)


def _end(artifact: ONNXArtifact) -> None:
    """End the process with exit code 1 if a check failed."""
    if not artifact.passed:
        raise SystemExit(1)


@contextlib.contextmanager
def configuration_named(checkpoint: str) -> Iterator[None]:
    """Add to an error about weights where the configuration of the run is: without it, a module has other sizes.

    Args:
        checkpoint: Path of the checkpoint.

    Raises:
        WeightsError: If the block raises one.
    """
    try:
        yield
    except WeightsError as error:
        near = [folder / "config.yaml" for folder in list(Path(checkpoint).absolute().parents)[:2]]
        saved = next((path for path in near if path.is_file()), None)
        if saved is None:
            raise
        raise WeightsError(f"{error} The configuration of that run is {saved}: was it given with --config?") from error


@contextlib.contextmanager
def _errors_told() -> Iterator[None]:
    """Turn an error of this package into a line and an exit code, as ``lightning-onnx`` does."""
    try:
        yield
    except ONNXExportError as error:
        sys.stderr.write(printable(f"export: {error}") + "\n")
        raise SystemExit(2 if isinstance(error, ConfigurationError) else 1) from error
