"""Every reason not to keep a variant; the artifact and later variants are kept."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lightning_onnx import ArtifactError, ConfigurationError, Float16, Int8, ONNXArtifact, ONNXExport, Simplified
from lightning_onnx.variants.judging import LooseParity
from tests.variants.conftest import exported
from tests.variants.faulty import Faulty

pytestmark = pytest.mark.slow

X = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3)).eval()


def entry(artifact: ONNXArtifact, place: int = 0) -> dict[str, Any]:
    """The manifest's entry of a variant that was not kept and left no files."""
    found: dict[str, Any] = artifact.manifest["variants"][place]
    assert (found["file"], found["sha256"]) == (None, None)
    assert not list(artifact.directory.glob(f"model.{found['name']}.*"))
    assert not [f for f in artifact.manifest["files"] if found["name"] in f]
    assert artifact.scalars()[f"onnx/{found['name']}_passed"] == 0
    with pytest.raises(ArtifactError, match=f"the variant '{found['name']}' of .* has no file"):
        artifact.variant_path(found["name"])
    assert ONNXArtifact.load(artifact.directory).passed
    return found


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("crash", "it could not be made: the worker process died by SIGABRT"),
        ("nothing", "Faulty wrote no model.faulty.onnx"),
        ("raising", "it could not be made: ValueError: cannot convert model.onnx"),
        ("renamed", r"outputs: \[\('other', 'float', .* but model.onnx has \[\('output'"),
        ("static", r"inputs: \[\('input', 'float', \['2', '4'\]\)\], but model.onnx has .*'batch'"),
        ("later_opset", "opset: 21, but model.onnx has 20"),
        ("without_metadata", r"metadata is lost or changed: \['lightning_onnx.weights'"),
        ("telling", "it contains private data: absolute path in"),
        ("invalid", "the model is invalid according to onnx"),
        ("other_weights", r"parity: output at traced .*100.00% of the elements are outside the tolerance"),
    ],
)
def test_wrong_variants_are_not_kept(function: str, reason: str, tmp_path: Path) -> None:
    made = exported(linear(), X, tmp_path / "a", variants=[Faulty(function)])
    found = entry(made)
    assert found["status"] == "failed"
    assert re.search(reason, found["reason"]), found["reason"]
    assert str(tmp_path) not in (made.directory / "manifest.json").read_text()
    assert "failed" in made.report.text().partition("Variants")[2]


def test_one_that_fails_takes_no_other_with_it(tmp_path: Path) -> None:
    made = exported(linear(), X, tmp_path / "a", variants=[Faulty("crash"), Faulty("copy", name="copy")])
    entry(made)
    assert made.manifest["variants"][1]["status"] == "passed"
    assert made.variant_path("copy").is_file()
    with pytest.raises(ArtifactError, match="has no variant 'int8'; it has faulty, copy"):
        made.variant_path("int8")


def test_outside_its_tolerance(tmp_path: Path) -> None:
    made = exported(linear(), X, tmp_path / "a", variants=[Float16(max_difference=0)])
    found = entry(made)
    assert found["status"] == "failed"
    assert "of the elements are outside the tolerance" in found["reason"]
    assert 0 < found["figures"]["worst_difference"] < 1e-2
    assert found["figures"]["latency_ratio"] > 0
    assert found["bytes"] > 0
    assert found["options"]["max_difference"] == 0


class Overflowing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return ((x * 1e3 * 1e3).sum(-1, keepdim=True) * 1e-3 * x).abs()


def test_values_that_float16_cannot_hold(tmp_path: Path) -> None:
    found = entry(exported(Overflowing(), X, tmp_path / "a", variants=[Float16()]))
    assert found["status"] == "failed"
    assert "values exceed the range of float16 (±65504) in ['" in found["reason"]
    assert "Float16(keep_float32=('Mul'," in found["reason"]


def test_operators_kept_in_float32_hold_them(tmp_path: Path) -> None:
    variants = [Float16(keep_float32=("Mul", "ReduceSum"))]
    made = exported(Overflowing(), X, tmp_path / "a", variants=variants)
    assert made.manifest["variants"][0]["status"] == "passed", made.manifest["variants"][0]["reason"]


@pytest.mark.parametrize(("variant", "package"), [(Float16(), "onnxconverter_common"), (Simplified(), "onnxsim")])
def test_a_missing_package(variant: Any, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def find_spec(name: str, *arguments: Any) -> Any:
        return None if name == package else real(name, *arguments)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    found = entry(exported(linear(), X, tmp_path / "a", variants=[variant]))
    assert found["status"] == "skipped"
    assert found["reason"] == f"{package} is not installed. Install it: pip install 'lightning-onnx[variants]'"


class Random(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + torch.rand_like(x)


def test_variants_that_cannot_be_compared_are_not_kept(tmp_path: Path) -> None:
    found = entry(exported(Random(), X, tmp_path / "a", variants=[Faulty("copy")]))
    assert found["status"] == "skipped"
    assert "it cannot be compared with the module: the module draws random numbers" in found["reason"]


def test_a_file_without_weights(tmp_path: Path) -> None:
    options = {"export_params": False}
    found = entry(exported(linear(), X, tmp_path / "a", variants=[Float16()], export_options=options))
    assert (found["status"], found["reason"]) == ("skipped", "the file holds no weights (export_params=False)")


def test_whole_numbers_may_differ_by_a_share() -> None:
    near = LooseParity(atol=0.3)
    expected = np.arange(4)
    assert near.compare_output("y", expected, np.array([0, 1, 2, 9])).problem is None
    assert near.compare_output("y", expected, np.array([0, 1, 9, 9])).problem == "50.00% of the elements differ"
    assert near.compare_output("y", expected, expected[:2]).problem is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variants": Float16()}, "is not a list. Put it into one"),
        ({"variants": [Float16]}, "has the class Float16"),
        (
            {"variants": ["int8", "int3"]},
            r"'int3' is not a variant: did you mean 'int8'\? Choose from fp16, int4, int8",
        ),
        ({"variants": ["Float16"]}, r"'Float16' is not a variant: did you mean 'fp16'\?"),
        ({"variants": [3]}, "has 3, which does not fit"),
        ({"variants": [Int8(), Int8(mode="dynamic")]}, "two with the same name"),
        ({"variants": [Faulty("copy", name="../x")]}, "is invalid in a file name"),
        ({"variants": [Faulty("copy", max_metric_drop=-1)]}, r"Faulty\(max_metric_drop=-1\)"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ONNXExport(**options)


def test_variants_that_need_validation_are_not_made_during_training(fit: Any, tmp_path: Path, monkeypatch: Any) -> None:
    from lightning.pytorch.callbacks import ModelCheckpoint

    from lightning_onnx.pipeline.produce import produce
    from tests.models import Classifier

    concurrent = []

    def recorded(*arguments: Any, **options: Any) -> Any:
        concurrent.append(options["concurrent"])
        return produce(*arguments, **options)

    monkeypatch.setattr("lightning_onnx.training.jobs.produce", recorded)
    for needs in (True, False):
        variant = Faulty("copy", needs_validation=needs)
        callback = ONNXExport(tmp_path / str(needs), when="checkpoint", variants=[variant], test_data=None)
        saving = ModelCheckpoint(tmp_path / f"saved-{needs}", monitor="val_loss", save_top_k=-1)
        fit(Classifier(), saving, callback, max_epochs=2)
        assert [a.manifest["variants"][0]["status"] for a in callback.artifacts] == ["passed", "passed"]
        assert not any(concurrent) if needs else any(concurrent)
        assert callback.failures == []
        concurrent.clear()


def test_a_variant_that_failed_is_reported(fit: Any, tmp_path: Path) -> None:
    from tests.models import Classifier

    callback = ONNXExport(tmp_path / "onnx", variants=[Faulty("raising")])
    fit(Classifier(), callback)
    assert callback.artifact is not None
    assert callback.artifact.passed
    assert len(callback.failures) == 1
    assert "variant faulty failed: it could not be made" in callback.failures[0]
