"""``lightning-onnx export``, as it is typed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_onnx import ONNXArtifact
from lightning_onnx.cli import main
from lightning_onnx.runtimes.worker import client

pytestmark = pytest.mark.slow

Captured = pytest.CaptureFixture[str]


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
    session = client.hosted("onnxruntime").load(made.model_path)
    (got,) = session.run({"x": x}).values()
    with torch.no_grad():
        np.testing.assert_allclose(got, module(torch.from_numpy(x)).numpy(), atol=1e-5)


def test_export_of_two_methods(project: Any, tmp_path: Path, capsys: Captured) -> None:
    arguments = ["export", "last.ckpt", "--model", "my_nets:Doubled", "--data", "my_nets:loader", "-o", "made",
                 "--method", "forward", "--method", "doubled"]  # fmt: skip
    assert main.main([*arguments, "--output-names", "y"]) == 2
    assert "is for one method" in capsys.readouterr().err
    assert main.main(arguments) == 0
    made = ONNXArtifact.load(tmp_path / "made")
    assert made.proven
    x = np.ones((3, 6), "float32")
    np.testing.assert_allclose(2 * made.run(x), made.method("doubled").run(x), atol=1e-5)
    assert main.main(["check", "made"]) == 0
    assert capsys.readouterr().out.count("passed") >= 2


def test_dims_that_vary_between_batches_are_dynamic(project: Any, tmp_path: Path) -> None:
    assert main.main(["export", "last.ckpt", "--model", "my_nets:Net", "--data", "my_nets:lengths", "-o", "made"]) == 0
    made = ONNXArtifact.load(tmp_path / "made")
    assert str(made.signature) == "(x: float32[batch, x_dim_1, 6]) -> (output: float32[batch, x_dim_1, 3])"
    assert made.proven


def test_export_options(project: Any, tmp_path: Path, capsys: Captured) -> None:
    arguments = ["export", "last.ckpt", "--model", "my_nets:WithExample", "--target", "onnxruntime>=1.17", "--static",
                 "--output-names", "logits", "--exclude-inputs", "y", "labels",
                 "--runtime", "reference", "--init", "scale=3.5"]  # fmt: skip
    assert main.main(arguments) == 0
    made = ONNXArtifact.load(tmp_path / "last.onnx-export")
    assert str(made.signature) == "(x: float32[4, 6]) -> (logits: float32[4, 3])"
    assert "exclude_inputs has 'y'" in "".join(made.manifest["notes"])
    assert (made.manifest["model"]["ir_version"], list(made.manifest["runtimes"])) == (9, ["reference"])
    assert main.main(arguments) == 2
    assert "last.onnx-export exists" in capsys.readouterr().err
    assert main.main([*arguments, "--output", "made.onnx"]) == 2
    assert "--output='made.onnx' is the name of a file" in capsys.readouterr().err


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
    assert main.main([*arguments, "fp16", "--profile"]) == 0
    written = capsys.readouterr()
    assert "latency ratio" in written.out
    assert "engine 'dynamo' (TorchExport) has traced the module" in written.err
    assert "seconds of this export: " in written.err
    assert ONNXArtifact.load(tmp_path / "made").variant_path("fp16").is_file()
    assert main.main([*arguments, "float8"]) == 2
    assert "'float8' is not a variant. Choose from fp16, int4" in capsys.readouterr().err


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


def test_what_a_checkpoint_asks_lightning_to_call_is_not_called(project: Any, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text("import pathlib\n\n\ndef run(*args):\n    pathlib.Path('harm').touch()\n")
    content = torch.load("last.ckpt", weights_only=False)
    content["hyper_parameters"] |= {"_instantiator": "planted.run", "_class_path": "planted.Net"}
    content["hparams_name"] = "kwargs"
    torch.save(content, "harmful.ckpt")
    for model in ("my_nets:WithExample", "my_nets:OpenEnded"):
        assert main.main(["export", "harmful.ckpt", "--model", model, "-o", model]) == 0
    assert not (tmp_path / "harm").exists()
    assert "planted" not in sys.modules


def test_preprocessing_is_given_by_name(project: Any, tmp_path: Path, capsys: Captured) -> None:
    arguments = ["export", "last.ckpt", "--model", "my_nets:Doubled", "-o", "made", "--preprocess", "my_nets:divided",
                 "--postprocess", "torch.nn:Flatten"]  # fmt: skip
    assert main.main(arguments) == 2
    assert "takes raw inputs, which nothing shows. Give --sample MODULE:NAME" in capsys.readouterr().err
    assert main.main([*arguments, "--sample", "my_nets:raw"]) == 0
    made = ONNXArtifact.load(tmp_path / "made")
    assert str(made.signature.inputs[0]) == "raw: uint8[batch, 6]"
    rows = np.arange(12, dtype=np.uint8).reshape(2, 6)
    _, module = project
    with torch.no_grad():
        np.testing.assert_allclose(made.run(rows), module(torch.from_numpy(rows) / 255).numpy(), atol=1e-5)
    assert main.main([*arguments, "--sample", "my_nets:Data", "-o", "other"]) != 0
    assert main.main([*arguments, "--sample", "my_nets:Net", "-o", "other"]) == 2
    assert "my_nets:Net() fails: TypeError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.ckpt", "--model", "my_nets:Net"], 2, "none.ckpt does not exist. Give the path or URL"),
        (["my_nets.py", "--model", "my_nets:Net"], 1, "Give the path of a checkpoint that Lightning"),
        (["cut.ckpt", "--model", "my_nets:Net"], 1, "it ends too early"),
        (["last.ckpt", "--model", "broken:Net"], 2, "cannot be imported: ValueError: too early at "),
        (["last.ckpt", "--model", "my_nets"], 2, "does not have the form MODULE:NAME"),
        (["last.ckpt", "--model", "my_nets:Missing"], 2, "cannot be imported"),
        (["last.ckpt", "--model", "my_nets:Nett"], 2, "has no attribute 'Nett': did you mean 'Net'?"),
        (["last.ckpt", "--model", "not_there:Net"], 2, "cannot be imported"),
        (["last.ckpt", "--model", "my_nets:Net"], 1, "--data MODULE:NAME"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--limit-batches", "1"], 2, "--limit-batches limits "),
        (["last.ckpt", "--model", "my_nets:WithExample", "--metrics"], 2, "--metrics needs batches"),
        (["last.ckpt", "--model", "my_nets:Net", "--data", "my_nets:empty"], 1, "my_nets:empty is empty"),
        (["last.ckpt", "--model", "my_nets:Data"], 2, "which is not a torch.nn.Module"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--init", "hidden=7"], 1, ". Is --model the class"),
        (["last.ckpt", "--model", "my_nets:Net", "--data", "my_nets:wide"], 1, "takes (--data MODULE:NAME)"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--init", "hidden='x'"], 2, "fails: TypeError"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--init", "hidden"], 2, "does not have the form NAME=VALUE"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--method", "fly"], 2, "has no such method"),
        (["last.ckpt", "--model", "my_nets:WithExample", "--target", "abacus"], 2, "target='abacus' is not known"),
    ],
)
def test_export_reports_errors(arguments: list[str], code: int, message: str, project: Any, capsys: Captured) -> None:
    assert main.main(["export", *arguments]) == code
    assert message in capsys.readouterr().err
