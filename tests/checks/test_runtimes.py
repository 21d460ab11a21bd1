"""The table of runtimes: every possible result of a row occurs."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from lightning_onnx import RuntimeParity, Signature, TensorSpec, export
from lightning_onnx.checks.base import CheckContext, CheckedFile, CheckedModule, CheckInputs
from lightning_onnx.checks.runtimes import dynamic_batch
from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.cases import Case
from lightning_onnx.runtimes import base
from lightning_onnx.runtimes.base import Description
from lightning_onnx.runtimes.worker import client

TENSORRT = "onnxruntime:TensorrtExecutionProvider"
TWO = ("onnxruntime", "reference")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> CheckContext:
    torch.manual_seed(0)
    module = nn.Linear(4, 3).eval()
    made = export(module, torch.randn(2, 4), directory=tmp_path_factory.mktemp("table") / "a")

    def reference(tensors: Any) -> list[torch.Tensor]:
        with torch.no_grad():
            return [module(*tensors)]

    cases = (Case("traced", (torch.randn(2, 4),), kind="traced"), Case("resized", (torch.randn(5, 4),), kind="resized"))

    def perturbed(tensors: Any, seed: int) -> list[torch.Tensor]:
        return reference(tensors)

    return CheckContext(
        file=CheckedFile(made.model_path, made.signature, client.hosted("onnxruntime")),
        module=CheckedModule(reference, perturbed, is_stochastic=False, flat=module),
        inputs=CheckInputs(cases),
    )


def altered(context: CheckContext, tmp_path: Path) -> CheckContext:
    """The same, but the file has another bias."""
    model = onnx.load(context.model_path)
    bias = next(t for t in model.graph.initializer if list(t.dims) == [3])
    bias.raw_data = bytes(12)
    onnx.save(model, tmp_path / "altered.onnx")
    return context.replace(model_path=tmp_path / "altered.onnx")


@pytest.mark.slow
def test_passes_with_a_row_each(context: CheckContext) -> None:
    result = RuntimeParity(TWO)(context)
    assert (result.status, result.reason, result.scalars) == ("passed", None, {"runtimes_passed": 1.0})
    rows = result.figures["runtimes"]
    assert list(rows) == list(TWO)
    for row in rows.values():
        assert (row["status"], row["dynamic_batch"], row["precision"], row["device"]) == (
            "passed",
            "yes",
            "float32",
            "CPU",
        )
        assert 0 <= row["worst_difference"] < 1e-6
    assert rows["onnxruntime"]["latency_ratio"] == 1
    assert rows["reference"]["latency_ratio"] > 1


def test_wrong_numbers_fail_in_each(context: CheckContext, tmp_path: Path) -> None:
    result = RuntimeParity(TWO)(altered(context, tmp_path))
    assert result.status == "failed"
    assert {row["status"] for row in result.figures["runtimes"].values()} == {"failed"}
    assert all(row["worst_difference"] > 0.01 for row in result.figures["runtimes"].values())
    assert result.reason is not None
    assert "reference: output at traced: 100.00% of the elements" in result.reason


@pytest.mark.slow
def test_absent_is_skipped_and_required_is_failed(context: CheckContext) -> None:
    result = RuntimeParity(("onnxruntime", TENSORRT))(context)
    row = result.figures["runtimes"][TENSORRT]
    assert (result.status, row["status"]) == ("passed", "skipped")
    assert result.reason == f"skipped {TENSORRT}: {row['reason']}"
    assert "pip install onnxruntime-gpu" in row["reason"] or "no CUDA device" in row["reason"]
    alone = RuntimeParity((TENSORRT,))(context)
    assert (alone.status, alone.scalars["runtimes_passed"]) == ("skipped", 0)
    required = RuntimeParity(("onnxruntime", TENSORRT), require=(TENSORRT,))(context)
    assert required.status == "failed"
    assert required.reason == f"{TENSORRT}: it is required: {row['reason']}"


def test_a_crash_fails_only_its_row(context: CheckContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base.RUNTIMES, "crashing", "tests.runtimes.faulty:Crashing")
    result = RuntimeParity(("crashing", "onnxruntime"))(context)
    rows = result.figures["runtimes"]
    assert (rows["crashing"]["status"], rows["onnxruntime"]["status"]) == ("failed", "passed")
    assert "died by SIGABRT" in rows["crashing"]["reason"]


@pytest.mark.slow
def test_a_hang_fails_only_its_row(context: CheckContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(base.RUNTIMES, "hanging", "tests.runtimes.faulty:Hanging")
    result = RuntimeParity(("hanging",), time_limit=0.5)(context)
    assert result.status == "failed"
    assert "no answer within 0.5 s" in str(result.reason)


def test_no_inputs_no_pass(context: CheckContext) -> None:
    result = RuntimeParity(TWO)(context.replace(cases=()))
    assert result.status == "skipped"
    assert RuntimeParity(())(context).status == "skipped"


def test_a_batch_that_was_not_tried(context: CheckContext) -> None:
    description = Description("CPU", "x", batch="loop")
    assert dynamic_batch(context, description) == "loop"
    assert dynamic_batch(context.replace(cases=context.cases[:1]), description) == "not tried"
    fixed = Signature((TensorSpec("x", "float32", (2, 4)),), context.signature.outputs)
    assert dynamic_batch(context.replace(signature=fixed), description) == "static"


def test_options() -> None:
    with pytest.raises(ConfigurationError, match="'tvm' is not a runtime"):
        RuntimeParity(("tvm",))
    with pytest.raises(ConfigurationError, match=r"has \['ncnn'\], missing in runtimes="):
        RuntimeParity(require=("ncnn",))
    with pytest.raises(ConfigurationError, match=r"precision='half'\) is invalid"):
        RuntimeParity(precision="half")


@pytest.mark.slow
def test_options_of_export(tmp_path: Path) -> None:
    made = export(nn.Linear(4, 3), torch.randn(2, 4), directory=tmp_path / "a", runtimes=TWO, require=("reference",))
    assert list(made.manifest["runtimes"]) == list(TWO)
    assert [c["name"] for c in made.manifest["checks"]] == ["parity", "runtimes"]
    assert made.scalars()["onnx/runtimes_passed"] == 1
    text = (made.directory / "report.html").read_text()
    for part in ("dynamic batch", "worst difference", "latency ratio", "ReferenceEvaluator"):
        assert part in text
    assert "latency ratio" in made.report.text()
    for wrong, message in (
        ({"runtimes": "ncnn"}, "is one string. Give a list"),
        ({"runtimes": ["tvm"]}, "is not a runtime"),
        ({"require": ["ncnn"]}, "Add them to runtimes"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            export(nn.Linear(4, 3), torch.randn(2, 4), directory=tmp_path / "b", **wrong)


@pytest.mark.slow
@pytest.mark.skipif(
    not all(importlib.util.find_spec(p) for p in ("openvino", "ncnn", "pnnx")), reason="needs openvino, ncnn, pnnx"
)
@pytest.mark.parametrize("name", [pytest.param("resnet18", marks=pytest.mark.nightly), "transformer"])
def test_real_models(name: str, tmp_path: Path) -> None:
    """Resnet18 passes in all; ncnn drops the mean of the transformer, and the table says so."""
    from torchvision.models import resnet18

    from tests.runtimes.conftest import Pooled

    module, sample = (
        (resnet18(), torch.randn(2, 3, 64, 64)) if name == "resnet18" else (Pooled(), torch.randn(2, 5, 16))
    )
    names = ["onnxruntime", "openvino", "ncnn"]
    made = export(module.eval(), sample, directory=tmp_path / "a", runtimes=names)
    rows = made.manifest["runtimes"]
    ends = [rows[n]["status"] for n in names]
    if name == "resnet18":
        assert ends == ["passed"] * 3
        assert {rows[n]["dynamic_batch"] for n in names} == {"yes"}
    else:
        assert ends[:2] == ["passed", "passed"]
        assert ends[2] == "passed" or "shape is (2, 5, 16), but the module returns (2, 16)" in rows["ncnn"]["reason"]
