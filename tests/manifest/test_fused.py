from __future__ import annotations

import pytest

from lightning_onnx import ArtifactError
from lightning_onnx.manifest.fields import Fields
from lightning_onnx.manifest.fused import Fused


@pytest.mark.parametrize("fused", [Fused(), Fused("Resize(4)", None), Fused(None, "decode", ("x",), ("y", "z"))])
def test_json_is_the_same_there_and_back(fused: Fused) -> None:
    assert Fused.read(Fields(fused.to_dict())) == fused


def test_a_damaged_field_is_named() -> None:
    with pytest.raises(ArtifactError, match=r"fused\.preprocess is 5, expected text"):
        Fused.read(Fields({"preprocess": 5}, "fused"))
