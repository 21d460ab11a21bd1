"""The file has the requested options, and is right at another size."""

from __future__ import annotations

import collections
import os
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import ConfigurationError, EngineError, Float16, Int8
from lightning_onnx.runtimes.worker.client import HostedSession
from tests import outside


class Small(nn.Module):
    """Convolution, BatchNorm, LSTM, LayerNorm: operators whose ONNX form changed between opsets."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv1d(3, 4, 3, padding=1), nn.BatchNorm1d(4)
        self.lstm, self.layer = nn.LSTM(4, 5, batch_first=True), nn.LayerNorm(5)

    def forward(self, x: Any) -> Any:
        h = self.norm(self.conv(x)).relu().transpose(1, 2)
        return self.layer(self.lstm(h)[0]).softmax(-1)


@pytest.mark.slow
@pytest.mark.parametrize("opset", range(lightning_onnx.opsets().lowest, lightning_onnx.opsets().highest + 1))
def test_each_opset_is_written_and_right(opset: int, tmp_path: Path) -> None:
    module = Small().eval()
    made = lightning_onnx.export(
        module, torch.randn(2, 3, 7), directory=tmp_path / "x", opset_version=opset,
        dynamic_axes={"x": {0: "batch", 2: "time"}},
    )  # fmt: skip
    assert outside.opset(made.model_path) == opset
    assert outside.shapes(made.model_path) == {"x": ["batch", 3, "time"], "output": ["batch", "time", 5]}
    for rows, length in ((1, 7), (5, 11)):
        x = torch.randn(rows, 3, length)
        with torch.no_grad():
            np.testing.assert_allclose(outside.run(made.model_path, x=x)[0], module(x), atol=1e-5)
    assert made.passed


@pytest.mark.slow
def test_module_that_no_engine_can_write_at_this_opset_is_an_error(tmp_path: Path) -> None:
    attention = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True)
    with pytest.raises(EngineError, match="11"):
        lightning_onnx.export(attention, torch.randn(2, 3, 8), directory=tmp_path / "x", opset_version=11)
    assert not (tmp_path / "x").exists()


@torch.library.custom_op("lightning_onnx_tests::double", mutates_args=())
def double(x: torch.Tensor) -> torch.Tensor:
    return x * 2


@double.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x)


class Custom(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Any) -> Any:
        return double(self.layer(x))


@pytest.mark.slow
def test_custom_operator_with_a_translation_table(tmp_path: Path) -> None:
    from onnxscript import opset18 as op

    with pytest.raises(EngineError, match="double"):
        lightning_onnx.export(Custom(), torch.randn(2, 4), directory=tmp_path / "x")
    table = {torch.ops.lightning_onnx_tests.double.default: lambda x: op.Add(x, x)}
    made = lightning_onnx.export(
        Custom(), torch.randn(2, 4), directory=tmp_path / "x",
        export_options={"custom_translation_table": table},
    )  # fmt: skip
    assert made.manifest["checks"][0]["status"] == "passed"


@pytest.mark.slow
def test_the_umask_is_obeyed(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        lightning_onnx.export(
            nn.Linear(4, 2), torch.randn(3, 4), directory=tmp_path / "below" / "a", variants=[Float16(), Int8()]
        )
    finally:
        os.umask(before)
    modes = {path: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")}
    assert len(modes) > 8
    assert {path.name for path, mode in modes.items() if mode != (0o750 if path.is_dir() else 0o640)} == set()


def test_export_without_weights(tmp_path: Path) -> None:
    import onnx

    made = lightning_onnx.export(
        nn.Linear(4, 2), torch.randn(2, 4), directory=tmp_path / "x", export_options={"export_params": False}
    )
    (check,) = made.manifest["checks"]
    assert check["status"] == "skipped"
    assert "export_params" in check["reason"]
    assert not onnx.load(str(made.model_path)).graph.initializer
    assert made.scalars()["onnx/parity_passed"] == 0


@pytest.mark.parametrize("engine", ["dynamo", "torchscript"])
def test_initializers_as_inputs(engine: str, tmp_path: Path) -> None:
    made = lightning_onnx.export(
        nn.Linear(4, 2), torch.randn(2, 4), directory=tmp_path / "x", engine=engine,
        export_options={"keep_initializers_as_inputs": True},
    )  # fmt: skip
    names = list(outside.shapes(made.model_path))
    assert names[0] == "input"
    assert {"weight", "bias"} <= set(names)
    y = outside.session(made.model_path).run(None, {"input": np.ones((1, 4), "f"), "bias": np.full(2, 9, "f")})[0]
    assert y.min() > 5
    assert made.passed


def test_option_that_the_engine_does_not_take(tmp_path: Path) -> None:
    with pytest.raises((EngineError, ConfigurationError), match="custom_opsets"):
        lightning_onnx.export(
            nn.Linear(4, 2), torch.randn(2, 4), directory=tmp_path / "x", engine="dynamo",
            export_options={"custom_opsets": {"mine": 1}},
        )  # fmt: skip


def test_a_module_of_fabric_is_exported_without_its_wrapper(tmp_path: Path) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, image: Tensor) -> dict[str, Tensor]:
            return {"logits": self.layer(image)}

    fabric, module = Fabric(accelerator="cpu", devices=1), Net()
    wrapped, _ = fabric.setup(module, torch.optim.SGD(module.parameters(), 0.1))
    made = lightning_onnx.export(wrapped, torch.randn(2, 4), directory=tmp_path / "a")
    assert str(made.signature) == "(image: float32[batch, 4]) -> (logits: float32[batch, 2])"
    assert made.manifest["source"]["module"] == "Net"


class Told(nn.Module):
    """Writes its inputs to a file: what a module changes in Python is put back after a call."""

    def __init__(self, file: int) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)
        self.file = file

    def forward(self, x: Tensor) -> Tensor:
        if type(x) is Tensor:  # in a trace it is of another class
            os.write(self.file, f"{tuple(x.shape)} {x.tolist()}\n".encode())
        return cast(Tensor, self.layer(x))


@pytest.mark.slow
def test_the_module_and_the_file_run_once_on_each_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[Any, ...]] = []
    begin = HostedSession.begin

    def counted(session: HostedSession, inputs: Any) -> Any:
        ran.append(tuple((a.shape, a.tobytes()) for a in inputs.values()))
        return begin(session, inputs)

    monkeypatch.setattr(HostedSession, "begin", counted)
    told = tmp_path / "told"
    module = Told(os.open(told, os.O_CREAT | os.O_WRONLY | os.O_APPEND))
    made = lightning_onnx.export(module, torch.randn(3, 4), directory=tmp_path / "made")
    assert made.passed
    calls = told.read_text().splitlines()
    assert [call for call, times in collections.Counter(calls).items() if times > 1] == []
    assert len(ran) == len(set(ran)) + 1 > 11  # on the test data once more: the report shows those answers
    ran.clear()
    assert lightning_onnx.export(module, torch.randn(3, 4), directory=tmp_path / "again", test_data=None).passed
    assert len(ran) == len(set(ran)) + 1  # the file that is published runs on the traced call
    os.close(module.file)


@pytest.mark.parametrize(
    ("args", "directory", "message"),
    [
        (torch.zeros(0, 4), "made", r"the call is empty: its shape is \[0, 4\]. Give .* such as torch.zeros\(2, 4\)\."),
        (torch.zeros(2, 4), "", r"directory='' is empty\. Give a directory such as 'exported'"),
    ],
)
def test_what_is_empty_is_refused(args: torch.Tensor, directory: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        lightning_onnx.export(torch.nn.Linear(4, 2), args, directory=directory)
