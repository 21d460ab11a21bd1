from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_onnx import ONNXArtifact
from tests import outside

from .running import run

pytestmark = pytest.mark.slow


def test_one_artifact_with_the_weights_of_the_checkpoint(tmp_path: Path) -> None:
    output = run("ddp.py", "--root", tmp_path, cwd=tmp_path)
    assert "rank 0 of 2 has an artifact: True" in output
    assert "rank 1 of 2 has an artifact: False" in output
    (model,) = tmp_path.rglob("model.onnx")
    assert ONNXArtifact.load(model.parent).manifest["checks"][0]["status"] == "passed"

    (checkpoint,) = tmp_path.rglob("*.ckpt")
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    images = np.random.default_rng(0).uniform(0, 16, (5, 64)).astype(np.float32)
    hidden = np.maximum(images / 16 @ state["net.0.weight"].numpy().T + state["net.0.bias"].numpy(), 0)
    expected = hidden @ state["net.2.weight"].numpy().T + state["net.2.bias"].numpy()
    (logits,) = outside.run(model, images=images)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
