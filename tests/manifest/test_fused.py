from __future__ import annotations

import pytest

from lightning_onnx import ArtifactError
from lightning_onnx.manifest.fields import Fields
from lightning_onnx.manifest.fused import WITHOUT_PART, Fused, why_no_inner_part
from lightning_onnx.manifest.results import CheckRecord


@pytest.mark.parametrize("fused", [Fused(), Fused("Resize(4)", None), Fused(None, "decode", ("x",), ("y", "z"))])
def test_json_is_the_same_there_and_back(fused: Fused) -> None:
    assert Fused.read(Fields(fused.to_dict())) == fused


def test_a_damaged_field_is_named() -> None:
    with pytest.raises(ArtifactError, match=r"fused\.preprocess is 5, expected text"):
        Fused.read(Fields({"preprocess": 5}, "fused"))


def test_why_there_is_no_inner_part() -> None:
    assert "has neither preprocessing nor postprocessing" in why_no_inner_part(None, [])
    skipped = CheckRecord("metrics", "skipped", f"no loop, and {WITHOUT_PART} (it takes x)")
    assert "runs by itself (it takes x). Use" in why_no_inner_part(
        Fused("Resize(4)"), [CheckRecord("a", "passed"), skipped]
    )
    assert "runs by itself. Use" in why_no_inner_part(Fused("Resize(4)"), [])
