"""The part of the graph between preprocessing and postprocessing, run by itself and in the validation loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

import lightning_onnx
from lightning_onnx import ArtifactError, MetricParity, ONNXArtifact, Parity
from lightning_onnx.pipeline import inner_part
from tests import outside
from tests.pipeline.test_fused import PREPROCESS, Net, loader, postprocess, trained

pytestmark = pytest.mark.slow


class Measured(Net):
    def __init__(self) -> None:
        super().__init__()
        self.accuracy = MulticlassAccuracy(3)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.accuracy(self(batch[0]), batch[1])
        self.log("val_acc", self.accuracy)


def exported(directory: Path, module: nn.Module, raw: Tensor, **options: Any) -> ONNXArtifact:
    checks = [Parity(), MetricParity()]
    return lightning_onnx.export(
        module, raw, directory=directory, checks=checks, dataloaders=loader(raw=False), **options
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Net, ONNXArtifact]:
    torch.manual_seed(0)
    module = Measured().eval()
    raw = torch.randint(0, 256, (2, 21, 13, 1), dtype=torch.uint8)
    directory = tmp_path_factory.mktemp("part") / "made"
    return module, exported(directory, module, raw, preprocess=PREPROCESS, postprocess=postprocess)


def test_the_metric_is_that_of_the_part(made: tuple[Net, ONNXArtifact]) -> None:
    (check,) = (check for check in made[1].record.checks if check.name == "metrics")
    assert check.status == "passed"
    assert check.reason == "on the part of the graph between preprocessing and postprocessing"
    assert check.figures["metrics"]["val_acc"]["status"] == "passed"
    assert check.figures["samples"] == 24


def test_the_part_runs_by_itself(made: tuple[Net, ONNXArtifact], tmp_path: Path) -> None:
    module, artifact = made
    fused = ONNXArtifact.load(artifact.directory).record.fused
    assert fused is not None
    path = artifact.save_inner_part(tmp_path / "part.onnx")
    model = onnx.load(path)
    assert [value.name for value in model.graph.input] == list(fused.inner_inputs)
    assert [value.name for value in model.graph.output] == list(fused.inner_outputs)
    assert not {"Softmax", "ArgMax"} & {node.op_type for node in model.graph.node}
    images = torch.randn(5, 1, 8, 8)
    (got,) = outside.run(path, **{fused.inner_inputs[0]: images})
    with torch.no_grad():
        np.testing.assert_allclose(got, module(images).numpy(), atol=1e-4)


class Pooled(Measured):
    """Ends as ResNets do: a global pool, whose shape takes the batch size, and any image size."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
        )

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch


@pytest.mark.parametrize("engine", ["dynamo", "torchscript"])
def test_the_part_needs_no_raw_input_for_the_batch_size(engine: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Pooled().eval()
    batches = DataLoader(TensorDataset(torch.randn(24, 3, 8, 8), torch.randint(0, 3, (24,))), batch_size=8)
    artifact = lightning_onnx.export(
        module,
        torch.randint(0, 256, (2, 20, 30, 3), dtype=torch.uint8),
        directory=tmp_path / "made",
        checks=[MetricParity()],
        dataloaders=batches,
        preprocess=lambda images: images.permute(0, 3, 1, 2) / 255,
        engine=engine,
    )
    (check,) = artifact.record.checks
    assert (check.status, check.reason) == ("passed", inner_part.ON_THE_PART)
    assert artifact.record.fused is not None
    images = torch.randn(5, 3, 9, 7)
    (got,) = outside.run(
        artifact.save_inner_part(tmp_path / "part.onnx"), **{artifact.record.fused.inner_inputs[0]: images}
    )
    with torch.no_grad():
        np.testing.assert_allclose(got, module(images).numpy(), atol=1e-4)


class Whole(Measured):
    """Its ``forward`` takes what the hook returns, with the labels, which it does not read."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        images, labels = batch if isinstance(batch, list) else batch.values()
        return {"images": images / 255 if images.dtype == torch.uint8 else images, "labels": labels}

    def forward(self, batch: Any) -> Tensor:  # type: ignore[override]
        return self.net(batch["images"])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch), batch["labels"])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.accuracy(self(batch), batch["labels"])
        self.log("val_acc", self.accuracy)


def test_what_the_method_does_not_read_need_not_be_in_the_graph(tmp_path: Path) -> None:
    checks = [Parity(), MetricParity()]
    options: Any = {"preprocess": "on_after_batch_transfer", "postprocess": postprocess, "checks": checks}
    _, artifact = trained(tmp_path, raw=True, module=Whole(), **options)
    assert [str(spec.dtype) for spec in artifact.signature.inputs] == ["uint8"]
    statuses = {check.name: (check.status, check.reason) for check in artifact.record.checks}
    assert statuses["metrics"] == ("passed", inner_part.ON_THE_PART)
    assert artifact.record.fused is not None
    assert len(artifact.record.fused.inner_inputs) == 1


class ReadsCodes(Measured):
    """Reads codes, which the hook makes from constants, in a way that one order of them does not show."""

    def forward(self, images: Tensor, codes: Tensor) -> Tensor:  # type: ignore[override]
        return self.net(images) * (codes[:1] + 1)


def test_a_part_that_lacks_what_the_method_reads_is_not_used(tmp_path: Path) -> None:
    raw = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    made = exported(tmp_path / "made", ReadsCodes(), raw, preprocess=lambda x: (x / 255, torch.arange(2)))
    assert made.record.fused is not None
    assert made.record.fused.inner_inputs == ()
    with pytest.raises(ArtifactError, match=r"no value of the graph equals codes, and it does not answer like"):
        made.save_inner_part(tmp_path / "part.onnx")


@pytest.mark.parametrize(
    "layers", [[nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)], [nn.Flatten(), nn.Linear(64, 3), nn.ReLU()]]
)
def test_what_changes_nothing_on_the_sample_is_part_of_the_method(layers: list[nn.Module], tmp_path: Path) -> None:
    module = Measured().eval()
    module.net = nn.Sequential(*layers)
    for parameter in module.net.parameters():
        nn.init.constant_(parameter, 0.1)  # positive inputs have positive outputs, so that a ReLU changes neither
    raw = torch.randint(1, 256, (2, 1, 8, 8), dtype=torch.uint8)
    made = exported(tmp_path / "made", module, raw, preprocess=lambda x: x / 255)
    assert made.record.fused is not None
    path = made.save_inner_part(tmp_path / "part.onnx")
    images = torch.randn(5, 1, 8, 8)
    (got,) = outside.run(path, **{made.record.fused.inner_inputs[0]: images})
    with torch.no_grad():
        np.testing.assert_allclose(got, module(images).numpy(), atol=1e-4)


def test_a_wrong_part_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(path: Path, inputs: Any, outputs: Any, target: Path) -> None:
        extract(path, inputs, outputs, target)
        model = onnx.load(target)
        (node,) = (node for node in model.graph.node if outputs[0] in node.output)
        node.output[0] = "right"
        model.graph.node.append(onnx.helper.make_node("Neg", ["right"], [outputs[0]]))
        onnx.save(model, target)

    extract = inner_part.extract
    monkeypatch.setattr(inner_part, "extract", wrong)
    raw = torch.randint(0, 256, (2, 1, 8, 8), dtype=torch.uint8)
    made = exported(tmp_path / "made", Measured(), raw, preprocess=lambda x: x / 255)
    (check,) = (check for check in made.record.checks if check.name == "metrics")
    assert check.status == "skipped"
    assert "cannot be run by itself (it does not answer like the method)" in str(check.reason)
    assert made.record.fused is not None
    assert made.record.fused.inner_inputs == ()
    with pytest.raises(ArtifactError, match=r"has no part .*\(it does not answer like the method\)"):
        made.save_inner_part(tmp_path / "part.onnx")


def test_only_graphs_with_preprocessing_have_a_part(tmp_path: Path) -> None:
    plain = lightning_onnx.export(nn.Linear(4, 2), torch.rand(3, 4), directory=tmp_path / "plain")
    with pytest.raises(ArtifactError, match="has neither preprocessing nor postprocessing"):
        plain.save_inner_part(tmp_path / "part.onnx")
