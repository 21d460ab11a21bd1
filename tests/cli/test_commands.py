"""``check``, ``bench`` and ``export``, as a person types them."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from onnx import numpy_helper

import lightning_onnx
from lightning_onnx import ONNXArtifact
from lightning_onnx.cli import main

pytestmark = pytest.mark.slow

Captured = pytest.CaptureFixture[str]

MODULE = """
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch.utils.data import DataLoader, TensorDataset


class Anything:
    pass


class Net(LightningModule):
    def __init__(self, hidden, scale=1.0, extra=None, bias=True):
        super().__init__()
        self.save_hyperparameters()
        self.net = torch.nn.Sequential(torch.nn.Linear(6, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, 3, bias))
        self.scale = scale

    def forward(self, x):
        return self.net(x) * self.scale

    def training_step(self, batch, batch_idx):
        return self(batch[0]).pow(2).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_size", self(batch[0]).abs().mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class WithExample(Net):
    example_input_array = torch.zeros(4, 6)


def loader():
    return DataLoader(TensorDataset(torch.randn(8, 6), torch.zeros(8)), batch_size=4)


class Data(LightningDataModule):
    def __init__(self, rows=8):
        super().__init__()
        self.rows = rows

    def train_dataloader(self):
        return loader()


def lengths():
    return [torch.randn(2, length, 6) for length in (3, 5, 4)]


def empty():
    return []
"""


@pytest.fixture
def artifact(tmp_path: Path) -> ONNXArtifact:
    return lightning_onnx.export(torch.nn.Linear(4, 2), torch.randn(3, 4), directory=tmp_path / "linear")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A directory with a module of the user's, and a checkpoint of it whose hyperparameters are not all plain."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_nets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("my_nets", None)
    import my_nets  # type: ignore[import-not-found]

    module = my_nets.WithExample(hidden=5, scale=2.0, extra=my_nets.Anything())
    saving = ModelCheckpoint(tmp_path, filename="last")
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, callbacks=[saving], enable_progress_bar=False,
                      enable_model_summary=False)  # fmt: skip
    trainer.fit(module, my_nets.loader())
    yield my_nets, module.eval()
    sys.modules.pop("my_nets", None)


# check --------------------------------------------------------------------------------------------------------------


def test_check(artifact: ONNXArtifact, capsys: Captured) -> None:
    assert main.main(["check", str(artifact.directory), "--runtime", "onnxruntime", "--runtime", "reference"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"passed   onnxruntime [\d.]+: 1 data set, differences up to .* of the scale", lines[0])
    assert lines[1].startswith("passed   reference ")
    assert main.main(["check", str(artifact.model_path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["data_sets"], found["runtimes"]["onnxruntime"]["status"]) == (["test_data_set_0"], "passed")


def test_check_fails_on_other_outputs(artifact: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    data = tmp_path / "mine"
    shutil.copytree(artifact.directory / "test_data_set_0", data)
    output = data / "output_0.pb"
    values = numpy_helper.to_array(onnx.TensorProto.FromString(output.read_bytes()))
    output.write_bytes(numpy_helper.from_array(values + np.float32(0.1)).SerializeToString())
    arguments = ["check", str(artifact.directory), "--data", str(data)]
    assert main.main(arguments) == 1
    assert "100.00% of the elements are outside the tolerance" in capsys.readouterr().out
    assert main.main([*arguments, "--atol", "1"]) == 0
    assert main.main([*arguments, "--runtime", "onnxruntime:MadeUp", "--runtime", "onnxruntime"]) == 1


def test_check_without_data_or_runtime_is_skipped(artifact: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    alone = tmp_path / "alone" / "model.onnx"
    alone.parent.mkdir()
    shutil.copy(artifact.model_path, alone)
    assert main.main(["check", str(alone)]) == 3
    assert "skipped  onnxruntime: there is no test data" in capsys.readouterr().out
    assert main.main(["check", str(alone.parent)]) == 3  # a directory as others make it
    there = str(artifact.directory)
    assert main.main(["check", there, "--runtime", "onnxruntime:MadeUp"]) == 3
    assert main.main(["check", there, "--require", "onnxruntime:MadeUp"]) == 1
    assert "it is required: the installed onnxruntime has no MadeUp" in capsys.readouterr().out


def test_check_usage(artifact: ONNXArtifact, tmp_path: Path, capsys: Captured) -> None:
    there = str(artifact.directory)
    for wrong in (
        [there, "--runtime", "tvm"],
        [there, "--data", str(tmp_path / "none")],
        [there, "--rtol", "-1"],
        [str(tmp_path / "none")],
    ):
        assert main.main(["check", *wrong]) == 2, wrong
    (tmp_path / "text.onnx").write_text("no model at all")
    assert main.main(["check", str(tmp_path / "text.onnx")]) == 2
    assert "is no ONNX model" in capsys.readouterr().err


# bench --------------------------------------------------------------------------------------------------------------


def test_bench(artifact: ONNXArtifact, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["bench", str(artifact.directory), "--seconds", "0.02", "--runtime", "onnxruntime"]
    assert main.main([*arguments, "--runtime", "reference", "--batch", "2"]) == 0
    text = capsys.readouterr().out
    assert re.search(r"batch 2 +ratio +p50 ms +p95 ms +items per second\nonnxruntime +1 ", text)
    assert re.search(r"loading +load seconds", text)
    assert "<svg" in (tmp_path / "linear.latency.svg").read_text()
    assert main.main([*arguments, "--json", "--plot", "b.png", "--runtime", "onnxruntime:MadeUp"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["batch_8"]) == ["onnxruntime"]
    assert "MadeUp" in found["absent"]["onnxruntime:MadeUp"]
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


def test_bench_ends(artifact: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    there, quick = str(artifact.directory), ["--seconds", "0.02", "--batch", "1"]
    assert main.main(["bench", there, *quick, "--runtime", "onnxruntime:MadeUp"]) == 3
    assert main.main(["bench", there, *quick, "--require", "onnxruntime:MadeUp"]) == 1
    monkeypatch.setitem(lightning_onnx.runtimes.base.RUNTIMES, "crashing", "tests.runtimes.faulty:Crashing")
    assert main.main(["bench", there, *quick, "--runtime", "crashing"]) == 1
    assert main.main(["bench", there, *quick, "--plot", "x.docx"]) == 2
    assert main.main(["bench", there, "--batch", "0"]) == 2


def test_bench_makes_up_inputs_where_sizes_are_known(
    artifact: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(artifact.model_path, tmp_path / "alone.onnx")
    assert main.main(["bench", "alone.onnx", "--seconds", "0.02"]) == 0
    model = onnx.load(tmp_path / "alone.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "features"
    onnx.save(model, tmp_path / "open.onnx")
    capsys.readouterr()
    assert main.main(["bench", "open.onnx"]) == 2
    assert "whose sizes are not known" in capsys.readouterr().err


# export -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", ["my_nets:loader", "my_nets:Data", None])
def test_export(data: str | None, project: Any, tmp_path: Path, capsys: Captured) -> None:
    _, module = project
    model = "my_nets:Net" if data else "my_nets:WithExample"
    given = ["--data", data] if data else []
    assert main.main(["export", "last.ckpt", "--model", model, *given, "-o", "made", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    made = ONNXArtifact.load(tmp_path / "made")
    assert made.proven
    assert made.manifest["source"]["checkpoint"] == "last.ckpt"
    assert (made.manifest["source"]["epoch"], made.manifest["source"]["global_step"]) == (0, 2)
    assert found["inputs"] == [{"name": "x", "dtype": "float32", "shape": ["batch", 6]}]
    x = np.random.default_rng(0).normal(size=(5, 6)).astype("float32")
    session = lightning_onnx.runtimes.base.get("onnxruntime").load(made.model_path)
    (got,) = session.run({"x": x}).values()
    with torch.no_grad():
        np.testing.assert_allclose(got, module(torch.from_numpy(x)).numpy(), atol=1e-5)


def test_dims_that_vary_between_batches_are_dynamic(project: Any, tmp_path: Path) -> None:
    assert main.main(["export", "last.ckpt", "--model", "my_nets:Net", "--data", "my_nets:lengths", "-o", "made"]) == 0
    made = ONNXArtifact.load(tmp_path / "made")
    assert str(made.signature) == "(x: float32[batch, x_dim_1, 6]) -> (output: float32[batch, x_dim_1, 3])"
    assert made.proven


def test_export_options(project: Any, tmp_path: Path, capsys: Captured) -> None:
    arguments = ["export", "last.ckpt", "--model", "my_nets:WithExample", "--target", "onnxruntime>=1.17", "--static",
                 "--output-names", "logits", "--runtime", "reference", "--init", "scale=3.5"]  # fmt: skip
    assert main.main(arguments) == 0
    made = ONNXArtifact.load(tmp_path / "last.onnx-export")
    assert str(made.signature) == "(x: float32[4, 6]) -> (logits: float32[4, 3])"
    assert (made.manifest["model"]["ir_version"], list(made.manifest["runtimes"])) == (9, ["reference"])
    assert main.main(arguments) == 2
    assert "last.onnx-export exists" in capsys.readouterr().err


def test_export_checks_the_task_and_the_speed(project: Any, capsys: Captured) -> None:
    arguments = ["export", "last.ckpt", "--model", "my_nets:Net", "--data", "my_nets:loader", "--metrics",
                 "--limit-batches", "1", "--latency", "1", "4", "--runtime", "onnxruntime", "--json"]  # fmt: skip
    assert main.main(arguments) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert list(checks) == ["parity", "metrics", "latency"]
    assert {check["status"] for check in checks.values()} == {"passed"}
    assert checks["metrics"]["figures"]["metrics"]["val_size"]["difference"] < 1e-5
    assert checks["metrics"]["figures"]["batches"] == 1
    assert {"batch_1", "batch_4"} <= set(checks["latency"]["figures"])


def test_export_with_variants(project: Any, tmp_path: Path, capsys: Captured) -> None:
    arguments = ["export", "last.ckpt", "--model", "my_nets:WithExample", "-o", "made", "--variant"]
    assert main.main([*arguments, "fp16"]) == 0
    assert "latency ratio" in capsys.readouterr().out
    assert ONNXArtifact.load(tmp_path / "made").variant_path("fp16").is_file()
    assert main.main([*arguments, "float8"]) == 2
    assert "'float8' is no variant. Choose from fp16, int8, simplified." in capsys.readouterr().err


def test_export_runs_nothing_of_the_checkpoint(project: Any, tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "harm").touch, ())

    content = torch.load("last.ckpt", weights_only=False)
    content["hyper_parameters"]["extra"] = Harmful()
    torch.save(content, "harmful.ckpt")
    assert main.main(["export", "harmful.ckpt", "--model", "my_nets:WithExample"]) == 0
    assert not (tmp_path / "harm").exists()
    torch.load("harmful.ckpt", weights_only=False)
    assert (tmp_path / "harm").exists()  # which is how harmful it is


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.ckpt", "--model", "my_nets:Net"], 1, "none.ckpt' cannot be read"),
        (["last.ckpt", "--model", "my_nets"], 2, "is no MODULE:NAME"),
        (["last.ckpt", "--model", "my_nets:Missing"], 2, "cannot be imported"),
        (["last.ckpt", "--model", "not_there:Net"], 2, "cannot be imported"),
        (["last.ckpt", "--model", "my_nets:Net"], 1, "--data MODULE:NAME"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--limit-batches", "1"], 2, "--limit-batches is of --metrics"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--metrics"], 2, "--metrics needs batches"),
        (["last.ckpt", "--model", "my_nets:Net", "--data", "my_nets:empty"], 1, "my_nets:empty has no batch"),
        (["last.ckpt", "--model", "my_nets:Data"], 2, "which is no module"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--init", "hidden=7"], 1, "weights do not fit"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--init", "hidden='x'"], 2, "fails: TypeError"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--init", "hidden"], 2, "is no NAME=VALUE"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--method", "fly"], 2, "has no such method"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--target", "abacus"], 2, "target='abacus' is not known"),
    ],
)
def test_export_says_what_is_wrong(
    arguments: list[str], code: int, message: str, project: Any, capsys: Captured
) -> None:
    assert main.main(["export", *arguments]) == code
    assert message in capsys.readouterr().err


# inspect ------------------------------------------------------------------------------------------------------------


def test_inspect_names_the_oldest_runtime_and_private_data(artifact: ONNXArtifact, capsys: Captured) -> None:
    assert main.main(["inspect", str(artifact.directory)]) == 0
    text = capsys.readouterr().out
    assert "onnxruntime 1.18 and later" in text
    assert "Private data\n  none found" in text
    model = onnx.load(artifact.model_path)
    model.graph.node[0].doc_string = 'File "/home/someone/net.py", line 3'
    path = artifact.directory.parent / "private.onnx"
    onnx.save(model, path)
    assert main.main(["inspect", str(path)]) == 0
    assert "stack trace in node" in capsys.readouterr().out
    assert main.main(["inspect", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {p["kind"] for p in found["private"]} == {"stack trace", "absolute path"}
    assert found["oldest_onnxruntime"] == "1.18"


@pytest.mark.parametrize("command", ["export", "check", "bench"])
def test_help_has_examples(command: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main.main([command, "--help"])
    assert f"examples:\n  lightning-onnx {command}" in capsys.readouterr().out
