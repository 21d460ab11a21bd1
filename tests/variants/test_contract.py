"""The contract of each variant in the table, checked with onnx and onnxruntime."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from lightning_onnx import ArtifactError, Int4, ONNXArtifact, Variant
from lightning_onnx.onnxfile import privacy
from lightning_onnx.variants import judging
from lightning_onnx.variants.base import VARIANTS, file_name, named
from tests.variants.conftest import MODULES, exported, module_of, run

pytestmark = pytest.mark.slow

ONNX_FILES = [name for name in VARIANTS if name != "pt2"]

EACH = pytest.mark.parametrize("name", list(VARIANTS))


@pytest.fixture(
    scope="module", params=["convolutions", pytest.param("sequence", marks=pytest.mark.slow)], ids=lambda name: name
)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def artifact(kind: str, tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    return made(kind, tmp_path_factory.mktemp(kind) / "made")


def every() -> list[Variant]:
    """One of each, with options that let the small modules of these tests be quantized."""
    return [Int4(min_weights=32) if name == "int4" else named(name) for name in VARIANTS]


def made(kind: str, directory: Path) -> ONNXArtifact:
    torch.manual_seed(1)
    variants = every()
    options: dict[str, Any] = {"variants": variants, "metadata": {"labels": "a,b"}, **MODULES[kind][3]}
    return exported(module_of(kind), torch.randn(MODULES[kind][1]), directory, **options)


@EACH
def test_it_passes_and_is_described(name: str, artifact: ONNXArtifact) -> None:
    assert isinstance(named(name), Variant)
    (entry,) = (v for v in artifact.manifest["variants"] if v["name"] == name)
    assert entry["status"] == "passed", entry["reason"]
    assert entry["class"] == type(named(name)).__name__
    path = artifact.variant_path(name)
    assert path.name == entry["file"] == file_name(named(name), "model")
    assert artifact.manifest["files"][path.name] == {key: entry[key] for key in ("sha256", "bytes")}
    assert [c["name"] for c in entry["checks"]] == ["parity", "metrics"]
    assert [c["status"] for c in entry["checks"]] == ["passed", "skipped"]
    assert entry["figures"]["latency_ratio"] > 0
    assert entry["figures"]["size_ratio"] == pytest.approx(
        entry["bytes"] / artifact.manifest["model"]["bytes"], rel=0.01
    )
    scalars = artifact.scalars()
    assert scalars[f"onnx/{name}_passed"] == 1
    assert scalars[f"onnx/{name}_size_mib"] == entry["bytes"] / 2**20
    assert scalars[f"onnx/{name}_max_rel_diff"] == entry["figures"]["worst_difference"]
    json.dumps(entry, allow_nan=False)


@pytest.mark.parametrize("name", ONNX_FILES)
def test_it_has_the_metadata_of_the_model(name: str, artifact: ONNXArtifact) -> None:
    was, now = onnx.load(artifact.model_path), onnx.load(artifact.variant_path(name))
    onnx.checker.check_model(str(artifact.variant_path(name)), full_check=True)
    for values, others in ((was.graph.input, now.graph.input), (was.graph.output, now.graph.output)):
        assert [(v.name, v.type) for v in values] == [(v.name, v.type) for v in others]
    metadata = {e.key: e.value for e in was.metadata_props}
    assert metadata["labels"] == "a,b"
    assert {e.key: e.value for e in now.metadata_props} == metadata | {"lightning_onnx.variant": name}
    assert (now.ir_version, now.producer_name) == (was.ir_version, was.producer_name)
    opsets = [{o.domain: o.version for o in m.opset_import} for m in (was, now)]
    assert opsets[0][""] == opsets[1][""]
    assert set(opsets[1]) <= {"", "com.microsoft"}
    assert privacy.find_private_data(now) == []


@pytest.mark.parametrize("name", ONNX_FILES)
def test_dims_that_were_dynamic_are(name: str, kind: str, artifact: ONNXArtifact) -> None:
    torch.manual_seed(2)
    x = torch.randn(MODULES[kind][2])
    with torch.no_grad():
        expected = module_of(kind)(x).numpy()
    (got,) = run(artifact.variant_path(name), {artifact.signature.inputs[0].name: x.numpy()})
    allowed = {"simplified": 1e-5, "fp16": 1e-2, "int4": 0.2, "int8": 0.1}[name]
    assert np.abs(got - expected).max() <= allowed * np.abs(expected).max()


def test_the_report_names_them(kind: str, artifact: ONNXArtifact) -> None:
    page = (artifact.directory / "report.html").read_text()
    assert "<h2>Variants</h2>" in page
    for text in (page, artifact.report.text(), (artifact.directory / "report.md").read_text()):
        assert "latency ratio" in text
        for name in VARIANTS:
            assert name in text
        how = "quantized statically for x86" if kind == "convolutions" else "quantized dynamically"
        assert how in text


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(MODULES))
def test_equal_models_make_equal_bytes(kind: str, staged: Any) -> None:
    context = staged(module_of(kind), torch.randn(MODULES[kind][1]))
    written = []
    for _ in range(2):
        judging.make([variant for variant in every() if variant.name in ONNX_FILES], context)
        written.append([context.model_path.with_name(f"model.{name}.onnx").read_bytes() for name in ONNX_FILES])
    assert written[0] == written[1]


def test_a_copy_is_verified_with_its_variants(artifact: ONNXArtifact, tmp_path: Path) -> None:
    shutil.copytree(artifact.directory, tmp_path / "copy")
    copy = ONNXArtifact.load(tmp_path / "copy")
    copy.variant_path("fp16").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"model.fp16.onnx is"):
        ONNXArtifact.load(tmp_path / "copy")
