"""The contract of a training run, read back from the manifest, the model file, the report and the snippet."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
import torchvision
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset, random_split
from torchvision.transforms import v2

import lightning_onnx
from lightning_onnx import ConfigurationError, ONNXArtifact, ONNXExport
from lightning_onnx.checks.loaders import Loaders
from lightning_onnx.pipeline.contract import contract_of
from lightning_onnx.report.snippet import snippet
from tests.pipeline.test_produce import prepared

pytestmark = pytest.mark.slow


class Animals(torchvision.datasets.FakeData):
    classes = ("cat", "dog", 'O\'Neill "the" owl')


class Net(LightningModule):
    def __init__(self, threshold: float = 0.25) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def loader() -> DataLoader[Any]:
    transform = v2.Compose([v2.ToImage(), v2.Resize((4, 4)), v2.ToDtype(torch.float32, scale=True)])
    part, _ = random_split(Animals(16, (3, 9, 7), 3, transform), [8, 8])
    return DataLoader(Subset(part, range(8)), batch_size=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[ONNXArtifact, list[str]]:
    torch.manual_seed(0)
    callback = ONNXExport()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        Trainer(
            accelerator="cpu",
            max_epochs=1,
            logger=False,
            callbacks=[callback],
            default_root_dir=tmp_path_factory.mktemp("contract"),
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(Net(), loader(), loader())
    assert callback.artifact is not None
    return callback.artifact, [str(w.message) for w in caught]


STEPS = (
    "put channels first if they are last, resize to 4 × 4 (bilinear, antialiased), convert to float32, divide by 255"
)


def test_manifest(run: tuple[ONNXArtifact, list[str]]) -> None:
    artifact, _ = run
    contract = ONNXArtifact.load(artifact.directory).record.contract
    assert contract is not None
    assert contract.labels == Animals.classes
    assert contract.labels_from == "dataset.classes"
    assert contract.settings == {"threshold": 0.25}
    assert contract.inputs["images"].range == (0, 1)
    own = contract.outputs["output"]
    assert (own.kind, own.axis, own.activation) == ("scores", 1, "softmax")
    assert contract.instruction == f"Before the model: {STEPS}."
    assert artifact.manifest["format_version"] == 2


def test_model_file(run: tuple[ONNXArtifact, list[str]]) -> None:
    metadata = {p.key: p.value for p in onnx.load(run[0].model_path).metadata_props}
    assert eval(metadata["names"]) == dict(enumerate(Animals.classes))  # as Ultralytics reads it


def test_report_and_warning(run: tuple[ONNXArtifact, list[str]]) -> None:
    artifact, told = run
    for text in (artifact.report.text(), artifact.report.markdown(), artifact.report.html()):
        assert STEPS in text
        assert "cat, dog" in text
    assert len([message for message in told if f"the caller has to {STEPS}" in message]) == 1


def test_snippet_prints_names_and_probabilities(run: tuple[ONNXArtifact, list[str]]) -> None:
    artifact, _ = run
    code = snippet(artifact.record)
    assert f"# before the model: {STEPS.split(', ')[0]}" in code
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=artifact.directory, capture_output=True, text=True, check=True
    )
    label, share = done.stdout.splitlines()[-1].rsplit(": ", 1)
    assert label in Animals.classes
    assert 33 < float(share.rstrip("%")) <= 100


def test_export_without_a_run(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(4, 2), nn.Softmax(1))
    made = lightning_onnx.export(
        module, torch.rand(3, 4), directory=tmp_path / "a", labels=["no", "yes"], metadata={"names": "mine"}
    )
    assert made.record.contract is not None
    own = made.record.contract.outputs["output"]
    assert (own.labels, own.kind, own.activation) == (("no", "yes"), "probabilities", None)
    assert {p.key: p.value for p in onnx.load(made.model_path).metadata_props}["names"] == "mine"
    without = lightning_onnx.export(module, torch.rand(3, 4), directory=tmp_path / "b", contract=False)
    assert without.record.contract is None
    assert "contract" not in without.manifest
    with pytest.raises(ConfigurationError, match="labels has 3 names"):
        prepared(labels=["a", "b", "c"])  # before the training


def test_a_data_set_that_raises_does_not_cost_the_artifact() -> None:
    class Printed:
        def __repr__(self) -> str:
            raise RuntimeError("mask.png is not in /home/someone/data")

    class Strange:
        transform = Printed()

    plan, loaded = prepared()
    found = contract_of(plan, dataclasses.replace(loaded, loaders=Loaders(Strange())))
    assert found.contract is None
    assert "could not be found (RuntimeError: mask.png" in found.notes[0]
    assert "someone" not in found.notes[0]
    given = dataclasses.replace(plan, config=dataclasses.replace(plan.config, labels=["no", "yes"]))
    found = contract_of(given, dataclasses.replace(loaded, loaders=Loaders(Strange())))
    assert found.contract is not None
    assert found.contract.labels == ("no", "yes")
    assert found.notes[0].endswith("it has only what was given")


def test_transforms_that_cannot_be_read_are_told() -> None:
    class Strange:
        classes = ("no", "yes")

        @property
        def transform(self) -> Any:
            raise RuntimeError("mask.png is not in /home/someone/data")

    plan, loaded = prepared()
    found = contract_of(plan, dataclasses.replace(loaded, loaders=Loaders(Strange())))
    assert found.contract is not None
    assert found.contract.labels == ("no", "yes")
    (note,) = found.notes
    assert note == (
        "the transforms of the validation data set cannot be read (RuntimeError: mask.png is not in data), so the "
        "contract has no steps: give them with contract={'steps': [...]}"
    )
    given = dataclasses.replace(plan, config=dataclasses.replace(plan.config, contract={"steps": ["divide by 255"]}))
    found = contract_of(given, dataclasses.replace(loaded, loaders=Loaders(Strange())))
    assert not any("cannot be read" in note for note in found.notes)
