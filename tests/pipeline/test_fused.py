"""Preprocessing and postprocessing in the graph, from a training run, read back from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

import lightning_onnx
from lightning_onnx import ConfigurationError, MetricParity, ONNXArtifact, ONNXExport, Parity
from lightning_onnx.errors import InputError
from tests import outside

pytestmark = pytest.mark.slow

LABELS = ["cat", "dog", "owl"]


class ChannelsFirst(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2)


PREPROCESS = nn.Sequential(
    ChannelsFirst(),
    v2.ToDtype(torch.float32, scale=True),
    v2.Resize([8, 8], antialias=True),
    v2.Normalize([0.5], [0.25]),
)


def postprocess(logits: Tensor) -> dict[str, Tensor]:
    probabilities = logits.softmax(1)
    return {"probabilities": probabilities, "label": probabilities.argmax(1)}


class Net(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        images, labels = batch
        return (images.float() / 255 if images.dtype == torch.uint8 else images), labels

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def loader(raw: bool) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 3
    images = torch.randint(0, 256, (24, 1, 8, 8), generator=generator, dtype=torch.uint8)
    return DataLoader(TensorDataset(images if raw else images / 255, labels), batch_size=4)


def trained(directory: Path, *, raw: bool, module: Net | None = None, **options: Any) -> tuple[Net, ONNXArtifact]:
    torch.manual_seed(0)
    module, callback = module or Net(), ONNXExport(weights="live", **options)
    Trainer(
        accelerator="cpu",
        max_epochs=1,
        logger=False,
        callbacks=[callback],
        default_root_dir=directory,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    ).fit(module, loader(raw), loader(raw))
    assert callback.failures == []
    assert callback.artifact is not None
    return module.eval(), callback.artifact


@pytest.fixture(scope="module")
def fused(tmp_path_factory: pytest.TempPathFactory) -> tuple[Net, ONNXArtifact]:
    return trained(
        tmp_path_factory.mktemp("fused"),
        raw=False,
        preprocess=PREPROCESS,
        postprocess=postprocess,
        sample=torch.randint(0, 256, (2, 21, 13, 1), dtype=torch.uint8),
        input_names=["images"],
        labels=LABELS,
        checks=[Parity(), MetricParity()],
    )


@pytest.mark.slow
def test_images_of_integers_are_resized(tmp_path: Path) -> None:
    steps = ChannelsFirst(), v2.Resize([8, 8], antialias=True), v2.ToDtype(torch.float32, scale=True)
    preprocess = nn.Sequential(*steps)
    sample = torch.randint(0, 256, (2, 21, 13, 1), dtype=torch.uint8)
    module, artifact = trained(tmp_path, raw=False, preprocess=preprocess, sample=sample)
    assert artifact.proven, artifact.manifest["checks"]
    images = torch.randint(0, 256, (5, 30, 17, 1), dtype=torch.uint8)
    (got,) = outside.run(artifact.model_path, **{artifact.signature.inputs[0].name: images})
    with torch.no_grad():
        np.testing.assert_allclose(got, module(preprocess(images)).numpy(), atol=0.02)


def test_any_size_from_raw_input_to_answer(fused: tuple[Net, ONNXArtifact]) -> None:
    module, artifact = fused
    shape = outside.shapes(artifact.model_path)["images"]
    assert [isinstance(dim, str) for dim in shape] == [True, True, True, False]
    assert artifact.signature.inputs[0].dtype == "uint8"
    for size in ((1, 8, 8, 1), (3, 30, 17, 1), (2, 9, 64, 1)):
        images = torch.randint(0, 256, size, dtype=torch.uint8)
        with torch.no_grad():
            expected = postprocess(module(PREPROCESS(images)))
        probabilities, label = outside.run(artifact.model_path, images=images)
        np.testing.assert_allclose(probabilities, expected["probabilities"].numpy(), atol=1e-4)
        np.testing.assert_array_equal(label, expected["label"].numpy())
    answer = artifact.run(np.zeros((1, 12, 11, 1), np.uint8))
    assert set(answer) == {"probabilities", "label"}


def test_what_the_manifest_says(fused: tuple[Net, ONNXArtifact]) -> None:
    record = ONNXArtifact.load(fused[1].directory).record
    assert record.contract is not None
    assert record.fused is not None
    assert "Normalize" in str(record.fused.preprocess)
    assert record.fused.postprocess == "postprocess (Softmax, ArgMax)"
    assert record.contract.caller_steps == ()
    assert any("normalize with mean [0.5]" in step.sentence for step in record.contract.steps)
    kinds = {name: output.kind for name, output in record.contract.outputs.items()}
    assert kinds == {"probabilities": "probabilities", "label": "indices"}
    checks = {check.name: (check.status, check.reason) for check in record.checks}
    assert checks["parity"][0] == "passed"
    assert checks["metrics"][0] == "passed"
    assert record.source.method == "forward"


def predicted(module: nn.Module, batches: Any) -> Any:
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    return trainer.predict(module, batches)


@pytest.mark.slow
def test_it_stands_in_for_predictions_of_raw_inputs(fused: tuple[Net, ONNXArtifact]) -> None:
    module, artifact = fused
    raw = torch.randint(0, 256, (6, 15, 11, 1), dtype=torch.uint8)
    stood_in: Any = artifact.as_module(module)
    stood_in.predict_step = lambda batch, batch_idx: stood_in(batch[0])
    rows = DataLoader(TensorDataset(raw, torch.zeros(6)), batch_size=4)
    with pytest.raises(InputError, match=r"preprocessing or postprocessing of its own.*trainer\.predict"):
        predicted(stood_in, rows)  # the module's hook has prepared them
    stood_in.on_after_batch_transfer = lambda batch, dataloader_idx: batch
    answers = predicted(stood_in, rows)
    with torch.no_grad():
        for answer, images in zip(answers, raw.split(4), strict=True):
            expected = postprocess(module(PREPROCESS(images)))
            torch.testing.assert_close(answer["probabilities"], expected["probabilities"], atol=1e-4, rtol=0)
            assert torch.equal(answer["label"], expected["label"])


@pytest.mark.slow
def test_a_stand_in_takes_raw_inputs_by_name(tmp_path: Path) -> None:
    def halved(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        return first / 2, second / 4

    module = nn.Bilinear(3, 3, 2).eval()
    first, second = torch.randn(4, 3), torch.randn(4, 3)
    artifact = lightning_onnx.export(module, (first, second), directory=tmp_path / "a", preprocess=halved)
    stood_in = artifact.as_module(module)
    with torch.no_grad():
        expected = module(first / 2, second / 4)
    torch.testing.assert_close(stood_in(second=second, first=first), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(stood_in(first, second), expected, atol=1e-5, rtol=0)


def test_a_hook_shows_the_raw_batches(tmp_path: Path) -> None:
    module, artifact = trained(tmp_path, raw=True, preprocess="on_after_batch_transfer", postprocess=nn.Softmax(1))
    (spec,) = artifact.signature.inputs
    assert (spec.dtype, spec.shape) == ("uint8", ("batch", 1, 8, 8))
    assert artifact.proven
    images = torch.randint(0, 256, (5, 1, 8, 8), dtype=torch.uint8)
    (got,) = outside.run(artifact.model_path, **{spec.name: images})
    with torch.no_grad():
        np.testing.assert_allclose(got, module(images / 255).softmax(1).numpy(), atol=1e-4)
    stood_in: Any = artifact.as_module(module)
    stood_in.predict_step = lambda batch, batch_idx: stood_in(batch[0])
    (answer,) = predicted(stood_in, DataLoader(TensorDataset(images, torch.zeros(5)), batch_size=5))
    np.testing.assert_allclose(answer, got, atol=1e-6)


def test_a_wrong_graph_of_the_preprocessing_fails_parity(tmp_path: Path) -> None:
    """The rule of an operator of the preprocessing is replaced by a wrong one: the module's own part is right."""

    def wrong(x: Any, *args: Any) -> Any:
        from onnxscript import opset20 as op

        return op.Abs(x)

    options: dict[str, Any] = {"export_options": {"custom_translation_table": {torch.ops.aten.neg.default: wrong}}}
    module = nn.Linear(4, 2)
    with pytest.raises(lightning_onnx.ParityError):
        lightning_onnx.export(
            module, torch.rand(3, 4), directory=tmp_path / "a", preprocess=torch.neg, engine="dynamo", **options
        )


def test_a_raw_sample_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="no call in training shows the raw inputs"):
        ONNXExport(preprocess=PREPROCESS)
