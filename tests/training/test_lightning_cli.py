"""Options and checks from configuration files, read by LightningCLI with jsonargparse; and its command export."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonargparse
import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger

import lightning_onnx
from lightning_onnx import (
    ONNXCLI,
    CheckContext,
    CheckResult,
    ConfigurationError,
    Latency,
    MetricParity,
    ONNXArtifact,
    ONNXExport,
    Parity,
    RuntimeParity,
    RuntimeUnavailable,
    WeightsError,
)
from lightning_onnx.training import lightning_cli


class Own:
    """A check that a user wrote."""

    name = "own"

    def __init__(self, limit: int = 3) -> None:
        self.limit = limit

    def __call__(self, context: CheckContext) -> CheckResult:
        return CheckResult(self.name, "passed")


def _parser() -> Any:
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_subclass_arguments(Callback, "callback")
    return parser


def _parse(*options: str) -> tuple[Any, Any]:
    parser = _parser()
    return parser, parser.parse_args(["--callback=lightning_onnx.ONNXExport", *(f"--callback.{o}" for o in options)])


def _made(*options: str) -> ONNXExport:
    parser, parsed = _parse(*options)
    made = parser.instantiate(parsed).callback
    assert type(made) is ONNXExport
    return made


def _round_trip(parser: Any, parsed: Any, tmp_path: Path) -> ONNXExport:
    saved = parser.dump(parsed)
    assert "Unable" not in saved
    (tmp_path / "saved.yaml").write_text(saved)
    again = _parser()
    loaded = again.parse_args([f"--config={tmp_path / 'saved.yaml'}"])
    assert again.dump(loaded) == saved
    made = again.instantiate(loaded).callback
    assert type(made) is ONNXExport
    return made


def test_defaults_are_those_of_the_callback(tmp_path: Path) -> None:
    parser, parsed = _parse()
    made, usual = _round_trip(parser, parsed, tmp_path), ONNXExport()
    assert made.options == usual.options
    assert list(made.config.checks) == list(usual.config.checks) == [Parity()]
    assert made.state_key == usual.state_key


@pytest.mark.parametrize(
    ("option", "name", "value"),
    [
        ("preflight=false", "preflight", False),
        ("preflight=warn", "preflight", "warn"),
        ("log_artifacts=false", "log_artifacts", False),
        ("log_artifacts=all", "log_artifacts", "all"),
        ("test_data=null", "test_data", None),
        ("dynamic_axes=null", "dynamic_axes", None),
        ("dynamic_axes=auto", "dynamic_axes", "auto"),
        ("dynamic_axes={images: {0: rows}}", "dynamic_axes", {"images": {0: "rows"}}),
        ('dynamic_axes={"images": {"0": "rows"}}', "dynamic_axes", {"images": {0: "rows"}}),  # JSON has no other keys
        ("dynamic_axes={images: [0]}", "dynamic_axes", {"images": [0]}),
        ("opset_version=17", "opset_version", 17),
        ("output_names=[logits]", "output_names", ["logits"]),
        ("metadata={licence: MIT}", "metadata", {"licence": "MIT"}),
        ("export_options={export_params: false}", "export_options", {"export_params": False}),
        ("checks=[]", "checks", []),
        ("checks=null", "checks", (Parity(),)),
    ],
)
def test_options(option: str, name: str, value: Any) -> None:
    made = _made(option)
    config = made.config if hasattr(made.config, name) else made.options
    assert getattr(config, name) == value


@pytest.mark.slow
def test_checks_by_class_path(tmp_path: Path) -> None:
    checks = [
        {"class_path": "lightning_onnx.Parity", "init_args": {"rtol": 1e-3}},
        {"class_path": "lightning_onnx.Latency", "init_args": {"batch_sizes": [1, 32], "max_ratio": 2}},
        {"class_path": "lightning_onnx.RuntimeParity", "init_args": {"parity": {"rtol": 1e-2}}},
        {"class_path": "lightning_onnx.MetricParity", "init_args": {"limit_batches": 10, "tolerances": {"loss": 0.1}}},
        {"class_path": f"{__name__}.Own", "init_args": {"limit": 1}},
    ]
    parser, parsed = _parse(f"checks={yaml.safe_dump(checks, default_flow_style=True)}")
    parity, latency, runtimes, metrics, own = _round_trip(parser, parsed, tmp_path).config.checks
    assert parity == Parity(rtol=1e-3)
    assert latency == Latency([1, 32], ["onnxruntime"], max_ratio=2)  # YAML has only lists
    assert runtimes == RuntimeParity(parity=Parity(rtol=1e-2))
    assert metrics == MetricParity(limit_batches=10, tolerances={"loss": 0.1})
    assert type(metrics.limit_batches) is int  # a number of batches, where a float would be a share
    assert own.limit == 1


def _named(module: str) -> list[str]:
    """The package's checks or variants: its public classes that have a name, with their modules."""
    found = {name: getattr(lightning_onnx, name) for name in lightning_onnx.__all__}
    return [n for n, c in found.items() if isinstance(getattr(c, "name", None), str) and module in c.__module__]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "name"), [(option, name) for option in ("checks", "variants") for name in _named(f".{option}.")]
)
def test_every_check_and_variant_of_the_package(option: str, name: str, tmp_path: Path) -> None:
    parser, parsed = _parse(f"{option}+=lightning_onnx.{name}")
    (made,) = getattr(_round_trip(parser, parsed, tmp_path).config, option)
    assert type(made).__name__ == name


def test_checks_and_variants_are_found() -> None:
    assert {"Parity", "Latency", "RuntimeParity", "MetricParity"} <= set(_named(".checks."))
    assert {"Float16", "Int8"} <= set(_named(".variants."))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("checks=[{class_path: lightning_onnx.Pariti}]", "'lightning_onnx.Pariti'.*has no attribute 'Pariti'"),
        ("checks=[{class_path: lightning_onnx.ONNXArtifact}]", "ONNXArtifact does not implement protocol Check"),
        ("variants=[{class_path: lightning_onnx.Parity}]", "Parity does not implement protocol Variant"),
        ("checks=[{class_path: lightning_onnx.Parity, init_args: {rtoll: 1}}]", "'rtoll' is not accepted"),
        ("engine=fast", "'auto', 'dynamo', 'torchscript'.*fast"),
        ("output_names=logits", "Got value: logits|Given value: logits"),
    ],
)
def test_invalid_configuration_is_named(option: str, message: str) -> None:
    with pytest.raises(jsonargparse.ArgumentError) as raised:
        _parse(option)
    import re

    assert re.search(message, str(raised.value), re.DOTALL)


def test_invalid_option_found_by_the_callback() -> None:
    with pytest.raises(ValueError, match="opset_version=99 is not supported"):
        _made("opset_version=99")


_MAIN = """
from lightning.pytorch.cli import LightningCLI
from lightning_onnx import ONNXCLI, ExportCommand
from tests.models import Classifier
import torch
from lightning.pytorch import LightningDataModule

class Data(LightningDataModule):
    def train_dataloader(self):
        rows = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(rows, torch.arange(24) % 3), batch_size=8)

    val_dataloader = train_dataloader

class Net(Classifier):
    def __init__(self, scale: float = 1.0):
        super().__init__()
        self.scale = scale

    def forward(self, x):
        return self.net(x) * self.scale

class Own(ExportCommand, LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.add_argument("--more", default=1)

if __name__ == "__main__":
    import sys
    if "own" in sys.argv:
        sys.argv.remove("own")
        Own(Net, Data)
    else:
        ONNXCLI(Net, Data)
"""


def _main(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``python main.py`` in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "main.py", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=250)


@pytest.mark.slow
def test_export_as_a_command(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(_MAIN)
    config = {
        "seed_everything": 1,
        "trainer": {
            "max_epochs": 3,
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "runs"}},
            "callbacks": [
                {"class_path": "ModelCheckpoint", "init_args": {"monitor": "val_loss", "mode": "max", "save_top_k": 1,
                                                                "save_last": True}},
                {"class_path": "lightning_onnx.ONNXExport",
                 "init_args": {"output_names": ["logits"], "dirpath": "onnx"}},
            ],
        },
        "model": {"scale": 2.0},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    refused = _main(tmp_path, "export", "--config", "config.yaml")
    assert refused.returncode == 2
    assert "export: ckpt_path='best': there is no checkpoint below" in refused.stderr

    done = _main(tmp_path, "fit", "--config", "config.yaml")
    assert done.returncode == 0, done.stderr
    of_run = "runs/lightning_logs/version_0"
    folder = tmp_path / of_run / "checkpoints"
    (best,) = (path for path in folder.glob("epoch*.ckpt"))
    trained = ONNXArtifact.load(next((tmp_path / "onnx").glob("epoch*")))
    saved = f"{of_run}/config.yaml"  # what Lightning wrote for this run
    options = ("--opset_version=18", "--variants=[pt2]", "--metrics=true")
    done = _main(tmp_path, "export", "--config", saved, "--ckpt_path", "best", *options)
    assert done.returncode == 0, done.stderr
    assert f"export: the checkpoint is {best}" in done.stderr.replace("is runs", f"is {tmp_path}/runs")
    artifact = ONNXArtifact.load(tmp_path / f"{best.stem}.onnx-export")
    assert artifact.proven
    assert [check["name"] for check in artifact.manifest["checks"]] == ["parity", "metrics"]
    assert artifact.manifest["model"]["opset"] == 18
    assert artifact.variant_path("pt2").is_file()
    assert [output.name for output in artifact.signature.outputs] == ["logits"]  # of the configured callback
    rows = np.ones((5, 6), np.float32)
    expected = trained.run(rows)  # the callback exported the best checkpoint, with the configured scale
    np.testing.assert_allclose(artifact.run(rows), expected, rtol=1e-4, atol=1e-6)

    again = _main(tmp_path, "export", "--config", saved)
    assert again.returncode == 2
    assert "exists. Remove it, or choose another one with --directory." in again.stderr
    own = _main(
        tmp_path, "own", "export", "--ckpt_path", str(folder / "last.ckpt"), "--directory=last", "--static=true"
    )
    assert own.returncode == 0, own.stderr
    static = ONNXArtifact.load(tmp_path / "last")
    assert static.manifest["source"]["checkpoint"] == "last.ckpt"
    assert static.signature.inputs[0].shape == (8, 6)
    assert "--ckpt_path" in _main(tmp_path, "own", "export", "--help").stdout


@pytest.mark.parametrize("where", ["logger", "persistent", "forced"])
def test_the_best_is_that_of_the_configured_run(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    class Command(ONNXCLI):
        def add_arguments_to_parser(self, parser: Any) -> None:
            if where == "forced":
                parser.add_lightning_class_args(ModelCheckpoint, "saving")
                parser.set_defaults({"saving.dirpath": "runs"})

        def instantiate_classes(self) -> None:
            raise SystemExit(0)  # the checkpoint has been found

    defaults: dict[str, Any] = {"logger": [CSVLogger("runs")]}
    if where != "logger":
        defaults = {"callbacks": ModelCheckpoint("runs")} if where == "persistent" else {}
    for age, folder in enumerate(("runs", "lightning_logs")):
        Path(folder).mkdir()
        torch.save({}, f"{folder}/a.ckpt")
        if where != "logger":  # then it is the newest of all
            os.utime(f"{folder}/a.ckpt", (100 - age, 100 - age))
    with pytest.raises(SystemExit):
        Command(BoringModel, args=["export"], trainer_defaults=defaults, seed_everything_default=False)
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "the checkpoint is" in line)
    assert line.endswith(str(Path("runs", "a.ckpt")))


@pytest.mark.slow
def test_weights_that_do_not_fit_name_the_configuration_of_the_run(tmp_path: Path) -> None:
    checkpoint = tmp_path / "version_0" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    for told in ("they do not fit.", "they do not fit. The configuration of that run is "):
        with pytest.raises(WeightsError) as error, lightning_cli.configuration_named(str(checkpoint)):
            raise WeightsError("they do not fit.")
        assert str(error.value).startswith(told)
        (tmp_path / "version_0" / "config.yaml").write_text("")
    assert "config.yaml: was it given with --config?" in str(error.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--opset_versoin=18", "unrecognized arguments: --opset_versoin=18"),
        ("--opset_version=new", "--opset_version new: the value has to be an integer, not 'new'."),
    ],
)
def test_a_wrong_option_is_told_in_a_few_lines(option: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        ONNXCLI(BoringModel, args=["export", option])
    assert end.value.code == 2
    usage, tip, error = capsys.readouterr().err.splitlines()
    assert usage.endswith(" export [--config FILE] [--ckpt_path {best,last,FILE}] [--directory DIR] [option ...]")
    assert tip.endswith(" export --help")
    assert error == f"error: {message}"


def test_jsonargparse_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    hidden: Any = lambda name, *more: None if name == "jsonargparse" else real(name, *more)  # noqa: E731
    monkeypatch.setattr(importlib.util, "find_spec", hidden)
    with pytest.raises(RuntimeUnavailable, match=r"^jsonargparse is not installed\. Install it: pip install"):
        ONNXCLI(BoringModel, run=False)


def test_several_methods_from_the_command_line() -> None:
    made = _made("method=[encode, decode]", "output_names={decode: [image]}", "dynamic_axes={encode: {x: {0: rows}}}")
    assert [(config.method, config.output_names) for config in made.configs] == [
        ("encode", None), ("decode", ["image"]),
    ]  # fmt: skip
    assert made.configs[0].dynamic_axes == {"x": {0: "rows"}}
    assert _made("method=predict_step").configs[0].method == "predict_step"


def test_export_takes_the_methods_of_the_callback() -> None:
    trainer = SimpleNamespace(callbacks=[ONNXExport(method=["encode", "decode"], output_names={"decode": ["image"]})])

    def methods(**given: Any) -> list[str]:
        return [config.method for config in lightning_cli.options_of(trainer, given, static=False, metrics=False)]

    assert methods(opset_version=18) == ["encode", "decode"]
    assert methods(method="decode") == ["decode"]
    assert methods(method="forward") == ["forward"]
    with pytest.raises(ConfigurationError, match="--output_names is for one method"):
        methods(output_names=["image"])
