"""The contract of every runtime: numbers, names, copies, float32, its own process, and no silent absence."""

from __future__ import annotations

import importlib.util
import re
import sys
from typing import Any

import numpy as np
import pytest

from lightning_onnx import ONNXArtifact
from lightning_onnx.errors import ConfigurationError, RuntimeUnavailable, WorkerError
from lightning_onnx.runtimes import base
from lightning_onnx.runtimes.worker import client
from tests.runtimes.conftest import feeds

pytestmark = pytest.mark.slow

PACKAGES = {"openvino": "openvino", "ncnn": "ncnn"}
NAMES = [
    pytest.param(n, marks=pytest.mark.skipif(importlib.util.find_spec(p) is None, reason=f"{p} is not installed"))
    for n, p in ((n, PACKAGES.get(n, "onnx")) for n in base.RUNTIMES)
]


@pytest.mark.parametrize("model", ["linear", "convolutional", "two"])
@pytest.mark.parametrize("name", NAMES)
def test_numbers_at_sizes_that_were_not_traced(name: str, model: str, exported: dict[str, ONNXArtifact]) -> None:
    artifact = exported[model]
    want, got = (client.hosted(n).load(artifact.model_path) for n in (base.DEFAULT, name))
    for batch in (1, 2, 5):
        inputs = feeds(artifact, batch)
        wanted, found = want.run(inputs), got.run(inputs)
        assert list(found) == [spec.name for spec in artifact.signature.outputs]
        for key, value in wanted.items():
            assert found[key].dtype == value.dtype
            np.testing.assert_allclose(found[key], value, atol=2e-6)


@pytest.mark.parametrize("name", NAMES)
def test_wrong_inputs_reach_no_runtime(name: str, exported: dict[str, ONNXArtifact]) -> None:
    session = client.hosted(name).load(exported["two"].model_path)
    good = feeds(exported["two"], 3)
    for change, message in (
        ({"q": good["q"].astype("float64")}, r"'q' is float64, the file takes float32\[batch, 4\]"),
        ({"q": good["q"][:, :3]}, r"shape \[3, 3\]"),
        ({"q": good["q"][0]}, r"shape \[4\]"),
        ({"q": good["q"][:2]}, "'batch' is 2 in input 'q' and 3 in 'p'"),
        ({"q": good["q"].tolist()}, "'q' is list"),
        ({"r": good["q"]}, r"the inputs are \['q', 'p', 'r'\]"),
    ):
        with pytest.raises(WorkerError, match=message):
            session.run({**good, **change})
    with pytest.raises(WorkerError, match=r"the inputs are \['p'\], the file takes \['q', 'p'\]"):
        session.run({"p": good["p"]})
    assert session.run(good)["sum"].shape == (3, 3)  # it goes on


@pytest.mark.parametrize("name", NAMES)
def test_elements_that_do_not_lie_in_order(name: str, exported: dict[str, ONNXArtifact]) -> None:
    session = client.hosted(name).load(exported["linear"].model_path)
    x = feeds(exported["linear"], 6)["input"]
    want = session.run({"input": x})["output"]
    for same in (np.asfortranarray(x), np.repeat(x, 2, axis=0)[::2]):
        assert not same.flags.c_contiguous
        np.testing.assert_array_equal(session.run({"input": same})["output"], want)


@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_copies(name: str, exported: dict[str, ONNXArtifact]) -> None:
    worker = client.hosted(name).worker  # OpenVINO's threads stay there
    worker.call("tests.runtimes.copies:check", base.RUNTIMES[name], str(exported["linear"].model_path))


@pytest.mark.parametrize("name", NAMES)
def test_describes_float32_unless_its_own_precision_is_requested(name: str, exported: dict[str, ONNXArtifact]) -> None:
    path = exported["linear"].model_path
    description = client.hosted(name).load(path).describe()
    assert description is not None
    assert (description.precision, description.device) == ("float32", "CPU")
    own = client.hosted(name, precision="deploy").load(path).describe()
    assert own is not None
    assert own.precision in ("float32", "bfloat16", "float16", "float16 if the CPU supports it")


@pytest.mark.parametrize("name", NAMES)
def test_version(name: str) -> None:
    assert client.hosted(name).version()[0].isdigit()


def test_each_runtime_except_the_default_has_its_own_process() -> None:
    own = [client.hosted(n).worker for n in (base.DEFAULT, base.DEFAULT, "reference", "reference")]
    assert own[0] is own[1]
    assert len({id(worker) for worker in own}) == 3


def test_a_crash_is_reported_and_leaves_the_others(exported: dict[str, ONNXArtifact]) -> None:
    path = exported["linear"].model_path
    other = client.hosted(base.DEFAULT).load(path)
    runtime = client.hosted("reference")
    session = runtime.load(path)
    with pytest.raises(WorkerError, match="died by SIGABRT"):
        runtime.worker.call("os:abort")
    assert session.run(feeds(exported["linear"], 1))["output"].shape == (1, 2)  # loaded again
    assert other.run(feeds(exported["linear"], 1))["output"].shape == (1, 2)


def test_time_limit(exported: dict[str, ONNXArtifact]) -> None:
    with pytest.raises(WorkerError, match=r"no answer within 0\.01 s"):
        client.hosted("reference", time_limit=0.01).load(exported["linear"].model_path)


@pytest.mark.parametrize("module", ["openvino", "ncnn", "pnnx", "onnxruntime"])
def test_a_missing_package_is_reported_with_the_pip_line(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    name = "ncnn" if module == "pnnx" else module
    path, _, attribute = base.RUNTIMES[name].partition(":")
    runtime: Any = getattr(__import__(path, fromlist=[attribute]), attribute)()
    with pytest.raises(RuntimeUnavailable, match=rf"{module} is not installed\. Install it: pip install {module}"):
        runtime.version()


def test_absence_crosses_the_process() -> None:
    worker = client.hosted("reference").worker
    with pytest.raises(RuntimeUnavailable, match="pip install none"):
        worker.call("lightning_onnx.runtimes.base:require", "package_that_is_not_there", "none")
    assert worker.call("builtins:abs", -1) == 1


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("tvm", "."),
        ("", "."),
        (None, "."),
        ("openvino:GPU", ": did you mean 'openvino'?"),
        ("onnxruntime:", ": did you mean 'onnxruntime'?"),
    ],
)
def test_unknown_names(name: Any, nearest: str) -> None:
    with pytest.raises(
        ConfigurationError, match=f"is not a runtime{re.escape(nearest)} Choose from onnxruntime, openvino"
    ):
        client.hosted(name)
