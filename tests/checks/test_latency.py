"""Latency: measured programs are in the table, and those that cannot be measured do not pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lightning_onnx import Latency, Parity, export
from lightning_onnx.checks.base import CheckContext, CheckedFile, CheckedModule, CheckInputs
from lightning_onnx.checks.measuring import resized
from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.calls.signature import Signature, TensorSpec
from lightning_onnx.module.cases import Case
from lightning_onnx.runtimes import base
from lightning_onnx.runtimes.worker import client

QUICK: dict[str, Any] = {"seconds": 0.02, "batch_sizes": (1, 3)}


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> CheckContext:
    module = nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 3)).eval()
    made = export(module, torch.randn(2, 4), directory=tmp_path_factory.mktemp("latency") / "a")

    def reference(tensors: Any) -> list[torch.Tensor]:
        with torch.no_grad():
            return [module(*tensors)]

    cases = (Case("traced", (torch.randn(2, 4),), kind="traced"),)
    runtime = client.hosted("onnxruntime")
    return CheckContext(
        file=CheckedFile(made.model_path, made.signature, runtime),
        module=CheckedModule(reference, reference, is_stochastic=False, flat=module),
        inputs=CheckInputs(cases),
    )


@pytest.mark.slow
def test_table(context: CheckContext) -> None:
    before = torch.get_num_threads()
    result = Latency(**QUICK, runtimes=("onnxruntime", "reference"))(context)
    assert (result.status, result.reason) == ("passed", None)
    for size in (1, 3):
        table = result.figures[f"batch_{size}"]
        assert list(table) == ["torch", "onnxruntime", "reference"]
        assert table["torch"]["ratio"] == 1
        assert table["reference"]["ratio"] > 1
        for row in table.values():
            assert next(iter(row)) == "ratio"
            assert 0 < row["p50_ms"] <= row["p95_ms"]
            assert row["items_per_second"] == pytest.approx(size / row["p50_ms"] * 1e3, rel=1e-3)
    loading = result.figures["loading"]
    assert list(loading) == ["onnxruntime", "reference"]
    assert all(row["load_seconds"] > 0 for row in loading.values())
    assert result.scalars["latency_ratio_batch_1"] == result.figures["batch_1"]["onnxruntime"]["ratio"]
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_too_slow_fails(context: CheckContext) -> None:
    result = Latency(**QUICK, max_ratio=1e-6)(context)
    assert result.status == "failed"
    assert "at batch 1 onnxruntime takes" in str(result.reason)
    assert Latency(**QUICK, max_ratio=1e6)(context).status == "passed"
    unmeasured = Latency(**QUICK, runtimes=("reference",), max_ratio=1e6)(context)
    assert (unmeasured.status, "was not measured" in str(unmeasured.reason)) == ("failed", True)


@pytest.mark.slow
def test_broken_runtimes_fail_and_absent_ones_are_skipped(
    context: CheckContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(base.RUNTIMES, "crashing", "tests.runtimes.faulty:Crashing")
    result = Latency(**QUICK, runtimes=("onnxruntime", "crashing"))(context)
    assert (result.status, "the worker process died by SIGABRT" in str(result.reason)) == ("failed", True)
    assert list(result.figures["batch_1"]) == ["torch", "onnxruntime"]
    absent = Latency(**QUICK, runtimes=("onnxruntime:MadeUp",))(context)
    assert absent.status == "skipped"
    assert "has no MadeUp" in absent.figures["absent"]["onnxruntime:MadeUp"]
    assert Latency()(context.replace(cases=())).status == "skipped"


def test_without_the_module_the_first_runtime_is_the_measure(context: CheckContext) -> None:
    result = Latency(**QUICK)(context.replace(flat=None))
    assert result.figures["batch_1"]["onnxruntime"]["ratio"] == 1


def test_batches_are_made_of_rows() -> None:
    inputs: Any = {"x": np.arange(4.0).reshape(2, 2), "n": np.arange(3)}
    made = resized(inputs, {"x": 0, "n": None}, (1, 5))
    assert [found["x"].shape for found in made.values()] == [(1, 2), (5, 2)]
    np.testing.assert_array_equal(made[5]["x"][:, 0], [0, 2, 0, 2, 0])
    np.testing.assert_array_equal(made[5]["n"], [0, 1, 2])
    assert list(resized(inputs, {"x": None}, (1, 5))) == [2]


def test_options() -> None:
    with pytest.raises(ConfigurationError, match=r"is invalid\. Give sizes of 1 or more"):
        Latency(batch_sizes=(0,))
    with pytest.raises(ConfigurationError, match="threads=0"):
        Latency(threads=0)
    with pytest.raises(ConfigurationError, match="is not a runtime"):
        Latency(runtimes=("tvm",))


@pytest.mark.slow
def test_in_the_report(tmp_path: Path) -> None:
    checks = [Parity(), Latency(**QUICK)]
    made = export(nn.Linear(4, 3), torch.randn(2, 4), directory=tmp_path / "a", checks=checks)
    text = (made.directory / "report.html").read_text()
    for part in ("batch 1", "items per second", "load seconds", "memory (MiB)"):
        assert part in text
    assert made.scalars()["onnx/latency_p50_ms_batch_1"] > 0


@pytest.mark.slow
def test_compiled(tmp_path: Path) -> None:
    code = (
        "import torch; from lightning_onnx import Latency, export; made = export(torch.nn.Linear(4, 3), "
        "torch.randn(2, 4), directory='a', checks=[Latency(seconds=0.02, batch_sizes=(1,), compiled=True)]); "
        "print(list(made.manifest['checks'][0]['figures']['batch_1']))"
    )  # the compiler leaves threads behind
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in [os.getcwd(), *sys.path] if p)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "['torch', 'torch.compile', 'onnxruntime']"


@pytest.mark.parametrize(
    ("shapes", "batch"),
    [
        ([("rows", 4)], "rows"),
        ([("rows", 4), ("rows", "n")], "rows"),
        ([("n", "batch")], "batch"),
        ([(2, 4)], None),
        ([("rows", 4), (2, "edges")], None),  # a graph: rows of nodes go with what points to them
        ([("x0_dim_0", 4)], None),  # a dim that differed between calls, and is not the batch
    ],
)
def test_batch_of_a_signature(shapes: Any, batch: str | None) -> None:
    inputs = tuple(TensorSpec(f"x{i}", "float32", shape) for i, shape in enumerate(shapes))
    assert Signature(inputs, ()).batch == batch


@pytest.mark.slow
def test_batch_under_another_name(tmp_path: Path) -> None:
    axes = {"input": {0: "rows"}, "output": {0: "rows"}}
    latency = Latency(seconds=0.02, batch_sizes=(1, 3))
    made = export(
        nn.Linear(4, 3), torch.randn(2, 4), directory=tmp_path / "a", dynamic_axes=axes, checks=[Parity(), latency]
    )
    assert {"batch_1", "batch_3"} <= set(made.manifest["checks"][1]["figures"])
