"""The sizes for runtimes: those of the run, and options that each runtime reads as they are meant."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shlex
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_onnx import ONNXArtifact, ONNXExport
from lightning_onnx.manifest.shape_ranges import DimRange, InputRange
from lightning_onnx.report.shape_ranges import ShapeRanges, size_tables

Shapes = dict[str, list[int]]
TWO = ShapeRanges(
    {"batch": DimRange(1, 32, 64), "length": DimRange(3, 5, 9)},
    (
        InputRange("ids", (1, 3), (32, 5), (64, 9)),
        InputRange("pixels", (1, 3, 8, 8), (32, 3, 8, 8), (64, 3, 8, 8)),
    ),
)


def parsed(shapes: str) -> Shapes:
    """Read ``name:1x3,name:2`` as onnxruntime's provider does: split at commas, at the first colon, at each x."""
    found = {}
    for item in shapes.split(","):
        assert re.fullmatch(r"[^:,]+:[1-9]\d*(x[1-9]\d*)*", item), item
        name, _, dims = item.partition(":")
        assert name not in found
        found[name] = [int(dim) for dim in dims.split("x")]
    return found


def parsed_command(options: str) -> dict[str, Shapes]:
    """Read options of trtexec."""
    found = {}
    for word in shlex.split(options):
        option = re.fullmatch(r"--(min|opt|max)Shapes=(.+)", word)
        assert option, word
        found[option[1]] = parsed(option[2])
    return found


def test_tensorrt_reads_them() -> None:
    expected = {
        "min": {"ids": [1, 3], "pixels": [1, 3, 8, 8]},
        "opt": {"ids": [32, 5], "pixels": [32, 3, 8, 8]},
        "max": {"ids": [64, 9], "pixels": [64, 3, 8, 8]},
    }
    assert parsed_command(TWO.trtexec()) == expected
    options = TWO.tensorrt_provider_options()
    assert {key: parsed(value) for key, value in options.items()} == {
        f"trt_profile_{end}_shapes": shapes for end, shapes in expected.items()
    }


@pytest.mark.parametrize("name", ["a:0", "a,b", "a b", "a'b"])
def test_a_name_that_tensorrt_cannot_read_has_no_line(name: str) -> None:
    ranges = ShapeRanges({"batch": DimRange(1, 2, 3)}, (InputRange(name, (1, 4), (2, 4), (3, 4)),))
    assert ranges.trtexec() == ""
    assert ranges.tensorrt_provider_options() == {}
    assert [program for program, _ in ranges.lines()] == ["OpenVINO"]
    assert ranges.openvino() == {name: "[1..3,4]"}


def test_a_name_that_a_shell_would_change_is_quoted() -> None:
    ranges = ShapeRanges({"batch": DimRange(1, 2, 3)}, (InputRange("a$HOME;b", (1, 4), (2, 4), (3, 4)),))
    assert parsed_command(ranges.trtexec())["opt"] == {"a$HOME;b": [2, 4]}


def test_static_inputs_need_no_option() -> None:
    assert ShapeRanges({}, ()).lines() == []
    assert ShapeRanges({}, ()).trtexec() == ""


class Tagger(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(20, 8)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.embed(ids)).mean(1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self(batch).pow(2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    """Most batches of the run have 4 rows of 6 tokens; one has 3 tokens, one 9, and the last one has 2 rows."""
    shapes = [(4, 6), (4, 3), (4, 9), *[(4, 6)] * 4, (2, 6)]
    loader: DataLoader[Tensor] = DataLoader([torch.randint(0, 20, shape) for shape in shapes], batch_size=None)
    callback = ONNXExport(tmp_path_factory.mktemp("sizes"))
    trainer = Trainer(max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[callback],
                      enable_progress_bar=False, enable_model_summary=False)  # fmt: skip
    trainer.fit(Tagger(), loader)
    assert callback.artifact is not None
    return callback.artifact


@pytest.mark.slow
def test_the_sizes_are_those_of_the_run(artifact: ONNXArtifact) -> None:
    (spec,) = artifact.signature.inputs
    rows, tokens = map(str, spec.shape)
    sizes = {rows: {"min": 1 if rows == "batch" else 2, "usual": 4, "max": 4}, tokens: {"min": 3, "usual": 6, "max": 9}}
    assert artifact.manifest["shape_ranges"] == sizes
    assert ONNXArtifact.load(artifact.directory).shape_ranges == artifact.shape_ranges
    assert artifact.shape_ranges.origin == "training"
    for text in (artifact.report.text(), artifact.report.html(), artifact.report.markdown()):
        assert "trtexec" in text
        assert "maximum" in text


@pytest.mark.slow
def test_runtimes_take_them(artifact: ONNXArtifact) -> None:
    session = onnxruntime.InferenceSession(artifact.model_path)
    ends = parsed_command(artifact.shape_ranges.trtexec())
    for shapes in ends.values():
        (output,) = session.run(None, {"ids": np.zeros(shapes["ids"], np.int64)})
        assert output.shape == (shapes["ids"][0], 3)
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed")
    line = dict(artifact.shape_ranges.lines())["OpenVINO"]
    code = (
        "import openvino, sys\n"
        f"model = openvino.Core().read_model({str(artifact.model_path)!r})\n"
        f"{line}\n"
        "print([[d.get_min_length(), d.get_max_length()] for d in model.input('ids').partial_shape])"
    )  # in a process of its own, because it leaves a thread
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [list(both) for both in zip(ends["min"]["ids"], ends["max"]["ids"], strict=True)]


@pytest.mark.parametrize(
    ("origin", "title"),
    [
        ("training", "Sizes in training"),
        ("data", "Sizes of the data"),
        ("sample", "Sizes of the sample"),
        (None, "Sizes"),
    ],
)
def test_the_report_says_where_the_sizes_come_from(origin: str | None, title: str, exported: ONNXArtifact) -> None:
    ranges = {"batch": DimRange(1, 2, 2), "height": DimRange(32, 32, 32)}
    found, _ = size_tables(dataclasses.replace(exported.record, shape_ranges=ranges, shape_ranges_from=origin))
    assert found.title == title
    if origin == "sample":
        assert found.rows == [["batch", "2 (options of runtimes: 1 to 2)"], ["height", "32"]]
    else:
        assert found.rows == [["batch", "1 (for single rows)", "2", "2"], ["height", "32", "32", "32"]]


def test_an_export_without_a_training_has_the_sizes_of_its_sample(exported: ONNXArtifact) -> None:
    assert exported.shape_ranges.origin == "sample"
    assert "Sizes of the sample" in exported.report.text()
    assert "in training" not in exported.report.text()
