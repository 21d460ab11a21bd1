from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from .running import run

pytestmark = pytest.mark.slow


def test_raw_images_get_the_names_that_the_module_gives(tmp_path: Path) -> None:
    output = run("image_to_answer.py", "--epochs", "2", "--root", tmp_path, cwd=tmp_path)
    tested, named = (float(share) for share in re.findall(r"(0\.\d+|1\.0+) of the images", output))
    assert abs(tested - named) < 1e-3
    assert named > 0.8
    assert "images: uint8[batch, images_dim_1, images_dim_2, 1]" in output

    (model,) = tmp_path.rglob("model.onnx")
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    names = ast.literal_eval(session.get_modelmeta().custom_metadata_map["names"])
    sizes = set()
    for path in sorted((tmp_path / "images" / "test" / "3_three").iterdir())[:9]:
        pixels = np.asarray(Image.open(path))
        sizes.add(pixels.shape)
        probabilities, label = session.run(None, {"images": pixels[None, :, :, None]})
        assert probabilities.shape == (1, 10)
        assert probabilities.argmax() == label[0]
        assert names[int(label[0])] in names.values()
    assert len(sizes) > 5
