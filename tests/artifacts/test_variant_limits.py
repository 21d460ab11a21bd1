"""What the manifest allows the file of a variant."""

from __future__ import annotations

import shutil
from pathlib import Path

from lightning_onnx.artifacts.variant_limits import VariantLimit, limit_of, variants_of

ARTIFACT = Path(__file__).parents[1] / "golden" / "0.1.0" / "artifact"


def test_a_variant_has_its_own_limit() -> None:
    assert limit_of(ARTIFACT / "model.int8.onnx") == VariantLimit("int8", 0.5)
    assert limit_of(ARTIFACT / "model.fp16.onnx") == VariantLimit("fp16", 0.01)
    assert limit_of(ARTIFACT / "model.simplified.onnx") is None  # it must be as close as the model
    assert limit_of(ARTIFACT / "model.onnx") is None


def test_a_file_with_other_content_has_none(tmp_path: Path) -> None:
    shutil.copy(ARTIFACT / "manifest.json", tmp_path)
    shutil.copy(ARTIFACT / "model.onnx", tmp_path / "model.int8.onnx")
    assert limit_of(tmp_path / "model.int8.onnx") is None
    (tmp_path / "manifest.json").write_text("[]")
    assert limit_of(tmp_path / "model.int8.onnx") is None
    assert variants_of(tmp_path / "model.onnx") == {}


def test_variants_that_did_not_pass_have_no_file() -> None:
    found = variants_of(ARTIFACT / "model.onnx")
    assert {name: path.name for name, path in found.items()} == {
        "fp16": "model.fp16.onnx",
        "int8": "model.int8.onnx",
        "simplified": "model.simplified.onnx",
    }
    assert variants_of(ARTIFACT / "model.fp16.onnx") == {}
