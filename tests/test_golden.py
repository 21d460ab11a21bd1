"""Files of earlier versions (``tests/golden``) can be loaded, inspected, checked and resumed from.

All of it in one file, so that one can see what is promised to what lies on people's disks.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.cli import LightningCLI
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import (
    ArtifactError,
    Float16,
    Int8,
    Latency,
    MetricParity,
    ONNXArtifact,
    ONNXExport,
    Parity,
    RuntimeParity,
    Simplified,
)
from lightning_onnx.cli.main import main
from lightning_onnx.trackers.files import copy_below
from tests import outside

GOLDEN = Path(__file__).parent / "golden"
VERSIONS = sorted(place.name for place in GOLDEN.glob("[0-9]*"))
OLD, BEST = "epoch=1-step=6", "epoch=2-step=9"

KEYS = {
    "": "format_version name model inputs outputs relations source checks scalars runtimes variants notes metadata "
    "graph versions files",
    "model": "file sha256 bytes opset ir_version target oldest_onnxruntime engine engine_reason",
    "source": "weights epoch global_step checkpoint monitor score precision device module method sample "
    "traced_shapes paths",
    "graph": "nodes operators modules",
    "versions": "torch lightning onnx onnxscript onnxruntime lightning_onnx",
    "inputs": "name dtype shape",
    "outputs": "name dtype shape",
    "checks": "name status reason figures",
    "variants": "name class file sha256 bytes opset status reason options checks figures notes",
}
"""What 0.1.0 wrote and people read; later versions may add to it."""


class Net(LightningModule):
    """The module of ``make.py``."""

    validation_loss = True

    def __init__(self, hidden: int = 4, lr: float = 0.1) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.body = nn.Sequential(nn.Conv2d(1, hidden, 3), nn.BatchNorm2d(hidden), nn.ReLU(), nn.Flatten())
        self.head = nn.Linear(16 * hidden, 3)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"logits": self.head(self.body(images))}

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch[0])["logits"], batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=self.hparams["lr"], momentum=0.5)

    def batches(self) -> DataLoader[Any]:
        return data()


def data() -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(2)
    labels = torch.arange(24) % 3
    images = torch.randn(24, 1, 6, 6, generator=generator)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 * label : 2 * label + 2] += 1
    return DataLoader(TensorDataset(images, labels), batch_size=8)


@pytest.fixture(params=VERSIONS)
def golden(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what a version wrote; its run is the working directory, as when it was made."""
    place = tmp_path / request.param
    shutil.copytree(GOLDEN / request.param, place)
    monkeypatch.chdir(place / "run")
    return place


def artifacts_of(golden: Path) -> list[Path]:
    return [golden / "artifact", golden / "run" / "onnx" / OLD, golden / "run" / "onnx" / BEST]


def test_versions() -> None:
    assert "0.1.0" in VERSIONS


# Reading ------------------------------------------------------------------------------------------------------------


def test_loads_and_verifies(golden: Path) -> None:
    for place in artifacts_of(golden):
        artifact = ONNXArtifact.load(place)
        artifact.verify()
        assert artifact.name == place.name
        assert artifact.passed
        assert artifact.proven
        assert str(artifact.signature) == "(images: float32[batch, 1, 6, 6]) -> (logits: float32[batch, 3])"
        assert artifact.model_path == place / "model.onnx"
        assert artifact.scalars()["onnx/parity_passed"] == 1
        assert outside.shapes(artifact.model_path) == {"images": ["batch", 1, 6, 6], "logits": ["batch", 3]}


def test_a_changed_file_is_still_found(golden: Path) -> None:
    file = golden / "artifact" / "model.int8.onnx"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    with pytest.raises(ArtifactError, match=r"model\.int8\.onnx is"):
        ONNXArtifact.load(golden / "artifact")


def test_manifest_is_a_dict_with_its_keys(golden: Path) -> None:
    for place in artifacts_of(golden):
        manifest = ONNXArtifact.load(place).manifest
        assert type(manifest) is dict
        assert manifest == json.loads((place / "manifest.json").read_text())
        assert_has_keys(manifest)
    manifest = ONNXArtifact.load(golden / "artifact").manifest
    assert manifest["format_version"] == 1
    assert manifest["versions"]["lightning_onnx"] == golden.name
    assert manifest["inputs"] == [{"name": "images", "dtype": "float32", "shape": ["batch", 1, 6, 6]}]
    assert {c["name"]: c["status"] for c in manifest["checks"]} == dict.fromkeys(
        ("parity", "latency", "metrics", "runtimes"), "passed"
    )


def assert_has_keys(manifest: dict[str, Any]) -> None:
    for part, keys in KEYS.items():
        value = manifest[part] if part else manifest
        for entry in value if isinstance(value, list) else [value]:
            assert type(entry) is dict
            assert set(keys.split()) <= set(entry), part


def test_outputs_are_those_stored(golden: Path) -> None:
    for place in artifacts_of(golden):
        stored = [
            numpy_helper.to_array(onnx.load_tensor(place / "test_data_set_0" / f"{name}_0.pb"))
            for name in ("input", "output")
        ]
        np.testing.assert_allclose(outside.run(place / "model.onnx", images=stored[0])[0], stored[1], atol=1e-5)


def test_outputs_are_those_of_the_checkpoints(golden: Path) -> None:
    images = torch.randn(5, 1, 6, 6)
    for name in (OLD, BEST):
        artifact = ONNXArtifact.load(f"onnx/{name}")
        module = Net.load_from_checkpoint(f"checkpoints/{artifact.manifest['source']['checkpoint']}").eval()
        (got,) = outside.run(artifact.model_path, images=images)
        np.testing.assert_allclose(got, module(images)["logits"].detach().numpy(), atol=1e-5)


def test_variants_are_found(golden: Path) -> None:
    artifact = ONNXArtifact.load(golden / "artifact")
    images = torch.randn(5, 1, 6, 6)
    (expected,) = outside.run(artifact.model_path, images=images)
    for name, tolerance in (("fp16", 0.02), ("int8", 0.2), ("simplified", 1e-5)):
        (got,) = outside.run(artifact.variant_path(name), images=images)
        np.testing.assert_allclose(got, expected, atol=tolerance)
    with pytest.raises(ArtifactError, match="has no file, because it failed: parity"):
        artifact.variant_path("int8-strict")
    with pytest.raises(ArtifactError, match="it has fp16, int8, int8-strict, simplified"):
        artifact.variant_path("int4")


def test_a_report_can_be_made_from_it(golden: Path) -> None:
    for place in artifacts_of(golden):
        report = ONNXArtifact.load(place).report
        for text in (report.text(), report.markdown(), report.html()):
            assert "logits" in text
            assert "parity" in text
    report = ONNXArtifact.load(golden / "artifact").report
    for text in (report.text(), report.markdown(), report.html()):
        assert all(word in text for word in ("latency", "val_loss", "reference", "int8-strict", "simplified"))


# The command line ---------------------------------------------------------------------------------------------------


def test_inspect(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in (*artifacts_of(golden), golden / "artifact" / "model.fp16.onnx"):
        assert main(["inspect", str(place)]) == 0
        assert "logits" in capsys.readouterr().out
    assert main(["inspect", str(golden / "artifact")]) == 0
    assert f"lightning-onnx {golden.name} with onnxruntime" in capsys.readouterr().out
    assert main(["inspect", str(golden / "artifact"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in found["checks"]] == ["parity", "latency", "metrics", "runtimes"]
    assert found["format_version"] == 1
    assert (found["source"]["module"], found["private"], found["operators"]["Conv"]) == ("Net", [], 1)
    assert found["metadata"]["labels"] == "top, middle, bottom"


def test_check(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place in artifacts_of(golden):
        assert main(["check", str(place)]) == 0
        assert "1 data set, differences up to" in capsys.readouterr().out
    assert main(["check", str(golden / "artifact" / "model.fp16.onnx"), "--atol", "0.01"]) == 0


@pytest.mark.slow
def test_export_of_a_checkpoint(golden: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", f"{__name__}:Net", "--data", f"{__name__}:data", "-o", str(tmp_path / "made"), "--json"]
    assert main(["export", f"checkpoints/{BEST}.ckpt", *options]) == 0
    assert_has_keys(json.loads(capsys.readouterr().out))
    images = torch.randn(5, 1, 6, 6)
    (got,) = outside.run(tmp_path / "made" / "model.onnx", images=images)
    (expected,) = outside.run(Path("onnx", BEST, "model.onnx"), images=images)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_diff(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diff", str(golden / "artifact"), str(golden / "run" / "onnx" / BEST)]) in (0, 1)
    assert "error" not in capsys.readouterr().err


def test_publishing(golden: Path, tmp_path: Path) -> None:
    """A tracker's copy is the same, file by file, and stays in format 1."""
    artifact = ONNXArtifact.load(golden / "artifact")
    copied = copy_below(artifact, tmp_path / "logs")
    assert ONNXArtifact.load(copied).manifest == artifact.manifest
    assert {name: content for name, (content, _) in contents(Path(copied)).items()} == {
        name: content for name, (content, _) in contents(artifact.directory).items()
    }


# Going on with the run ----------------------------------------------------------------------------------------------


def resume(fit: Any, epochs: int, **options: Any) -> ONNXExport:
    callback = ONNXExport(**options)
    checkpoint = ModelCheckpoint(monitor="val_loss", save_top_k=2)
    fit(Net(), callback, checkpoint, max_epochs=epochs, default_root_dir=".", ckpt_path=f"checkpoints/{BEST}.ckpt")
    assert callback.failures == []
    return callback


def contents(directory: Path) -> dict[str, tuple[bytes, int]]:
    """What each file holds, and when it was written."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def index() -> dict[str, dict[str, Any]]:
    return {entry["directory"]: entry for entry in json.loads(Path("onnx/index.json").read_text())["artifacts"]}


@pytest.mark.slow
def test_resumed(golden: Path, fit: Any) -> None:
    """One more epoch: the best old artifact stays, the other is removed with its checkpoint, and a new one is added."""
    before, (owner,) = contents(Path("onnx", BEST)), {entry["owner"] for entry in index().values()}
    callback = resume(fit, 4, when="checkpoint")
    new = "epoch=3-step=12"
    assert [artifact.name for artifact in callback.artifacts] == [BEST, new]
    assert sorted(path.name for path in Path("checkpoints").iterdir()) == [f"{BEST}.ckpt", f"{new}.ckpt"]
    assert sorted(path.name for path in Path("onnx").iterdir()) == [BEST, new, "index.json"]
    assert contents(Path("onnx", BEST)) == before

    made = ONNXArtifact.load(f"onnx/{new}")
    assert made.proven
    assert callback.artifact is not None
    assert callback.artifact.name == new
    assert_has_keys(made.manifest)
    images = torch.randn(5, 1, 6, 6)
    module = Net.load_from_checkpoint(f"checkpoints/{new}.ckpt").eval()
    (got,) = outside.run(made.model_path, images=images)
    np.testing.assert_allclose(got, module(images)["logits"].detach().numpy(), atol=1e-5)
    assert {name: entry["best"] for name, entry in index().items()} == {BEST: False, new: True}
    assert {entry["owner"] for entry in index().values()} == {owner}
    assert set(index()[new]) >= set(index()[BEST])


@pytest.mark.slow
@pytest.mark.parametrize("when", ["checkpoint", "fit_end"])
def test_resumed_after_the_end_makes_nothing_twice(when: str, golden: Path, fit: Any) -> None:
    before = {name: contents(Path("onnx", name)) for name in (OLD, BEST)}
    callback = resume(fit, 3, when=when)
    assert callback.artifact is not None
    assert callback.artifact.name == BEST
    assert {name: contents(Path("onnx", name)) for name in (OLD, BEST)} == before
    assert sorted(path.name for path in Path("onnx").iterdir()) == [OLD, BEST, "index.json"]
    assert {name: entry["best"] for name, entry in index().items()} == {OLD: False, BEST: True}


@pytest.mark.slow
def test_the_state_assigns_artifacts_to_checkpoints(golden: Path, fit: Any) -> None:
    """Another artifact of the same checkpoint, with a name that sorts first, is not used."""
    shutil.copytree(f"onnx/{OLD}", "onnx/another")
    callback = resume(fit, 3, when="checkpoint")
    assert sorted(artifact.name for artifact in callback.artifacts) == [OLD, BEST]
    assert Path("onnx/another/model.onnx").is_file()


def test_state(golden: Path) -> None:
    said = json.loads(Path("state.json").read_text())
    stored = torch.load(f"checkpoints/{said['checkpoint']}", weights_only=True)["callbacks"]
    callback = ONNXExport(when="checkpoint")
    assert said["callbacks"] == {callback.state_key: stored[callback.state_key]}
    callback.load_state_dict(stored[callback.state_key])
    assert set(callback.state_dict()) == set(stored[callback.state_key]) == {"artifacts"}


@pytest.mark.slow
def test_entries_of_others_stay_in_the_index(golden: Path, fit: Any) -> None:
    before = index()
    fit(Net(), ONNXExport("onnx", filename="mine"), default_root_dir=".")
    after = index()
    assert set(after) == {OLD, BEST, "mine"}
    assert {name: after[name] for name in before} == before
    assert after["mine"]["owner"] != before[OLD]["owner"]


# LightningCLI -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_configuration_file(golden: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["fit"])
    saved = yaml.safe_load((golden / "config.yaml").read_text())
    made = LightningCLI(Net, args={"trainer": saved["trainer"], "seed_everything": False}, run=False)
    (callback,) = (c for c in made.trainer.callbacks if isinstance(c, ONNXExport))
    assert list(callback.config.checks) == [
        Parity(rtol=1e-3),
        Latency([1, 8], ["onnxruntime"], seconds=0.02),
        MetricParity(limit_batches=2),
        RuntimeParity(parity=Parity(rtol=1e-2)),
    ]
    assert list(callback.config.variants) == [Float16([]), Int8(mode="dynamic", max_metric_drop=0.5), Simplified()]
    expected = ONNXExport(
        opset_version=18,
        dynamic_axes={"images": {0: "rows"}},
        metadata={"licence": "MIT"},
        exclude_inputs=["labels"],
        runtimes=["onnxruntime", "reference"],
        require=[],
        assets=[],
        checks=callback.config.checks,
        variants=callback.config.variants,
        log_artifacts="all",
    )
    assert callback.options == expected.options
    assert callback.config == expected.config
    assert callback.state_key == expected.state_key


@pytest.mark.slow
def test_run_of_the_configuration_file(golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["fit"])
    quick = ["--trainer.logger=false", "--seed_everything=false"]
    arguments = ["fit", "--config", str(golden / "config.yaml"), *quick]
    LightningCLI(_WithData, args=arguments, save_config_callback=None)
    artifact = ONNXArtifact.load("onnx/epoch=0-step=1")
    assert artifact.passed
    assert outside.opset(artifact.model_path) == 18
    assert outside.shapes(artifact.model_path) == {"images": ["rows", 1, 6, 6], "logits": ["rows", 3]}
    assert [c["name"] for c in artifact.manifest["checks"]] == ["parity", "latency", "metrics", "runtimes"]
    assert [v["name"] for v in artifact.manifest["variants"]] == ["fp16", "int8", "simplified"]
    assert_has_keys(artifact.manifest)


class _WithData(Net):
    def train_dataloader(self) -> DataLoader[Any]:
        return data()

    def val_dataloader(self) -> DataLoader[Any]:
        return data()
