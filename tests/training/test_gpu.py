"""Training on a GPU, and runtimes on it: the file is that of the module on the CPU, whatever the devices and precision.

These tests need a CUDA device; without one they are skipped, and nothing here has been shown.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy
from torch import Tensor, nn

from lightning_onnx import ONNXArtifact, ONNXExport, RuntimeParity
from lightning_onnx.module.weights.checkpoint_file import read_checkpoint
from tests import outside
from tests.models import Classifier

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]

GPU = "cuda"


def provider(name: str) -> Any:
    """Skip where the installed onnxruntime does not have an execution provider."""
    import onnxruntime

    known = onnxruntime.get_available_providers()
    return pytest.param(
        f"onnxruntime:{name}",
        marks=pytest.mark.skipif(name not in known, reason=f"the installed onnxruntime has no {name}"),
    )


def assert_is(artifact: ONNXArtifact | None, module: nn.Module, rtol: float = 1e-4) -> None:
    """Compare a file, in onnxruntime on the CPU, with a module's copy on the CPU in float32."""
    assert artifact is not None
    assert artifact.proven
    reference = copy.deepcopy(module).cpu().float().eval()
    for rows in (1, 4, 7):
        x = torch.randn(rows, 6)
        (got,) = outside.run(artifact.model_path, x=x)
        with torch.no_grad():
            np.testing.assert_allclose(got, reference(x).numpy(), rtol=rtol, atol=rtol)


def weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "bf16-true"])
def test_training_on_a_gpu(precision: str, fit: Any, tmp_path: Path) -> None:
    module, callback = Classifier(), ONNXExport(tmp_path / "onnx", weights="live")
    fit(module, callback, accelerator=GPU, devices=1, precision=precision)
    assert callback.failures == []
    assert_is(callback.artifact, module)
    assert callback.artifact is not None
    source = callback.artifact.manifest["source"]
    assert (source["precision"], source["device"]) == (precision, GPU)


def test_the_best_checkpoint_of_a_training_on_a_gpu(fit: Any, tmp_path: Path) -> None:
    module, kept = Classifier(), ModelCheckpoint(tmp_path / "kept", monitor="val_loss")
    callback = ONNXExport(tmp_path / "onnx")
    fit(module, kept, callback, accelerator=GPU, devices=1, max_epochs=2)
    best = Classifier()
    best.load_state_dict(read_checkpoint(kept.best_model_path)["state_dict"])
    assert_is(callback.artifact, best)


def test_the_training_is_the_one_without_the_callback(fit: Any, tmp_path: Path) -> None:
    ends: list[dict[str, Tensor]] = []
    states: list[Tensor] = []
    for callbacks in ([], [ONNXExport(tmp_path / "onnx")]):
        torch.manual_seed(3)
        module = Classifier()
        fit(module, *callbacks, accelerator=GPU, devices=1, max_epochs=2, deterministic=True)
        ends.append(weights(module))
        states.append(torch.cuda.get_rng_state())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert torch.equal(*states)


@pytest.mark.parametrize("name", [provider("CUDAExecutionProvider"), provider("TensorrtExecutionProvider")])
def test_execution_providers(name: str, fit: Any, tmp_path: Path) -> None:
    module = Classifier()
    callback = ONNXExport(tmp_path / "onnx", weights="live", checks=[RuntimeParity(("onnxruntime", name))])
    fit(module, callback, accelerator=GPU, devices=1)
    assert callback.artifact is not None
    row = callback.artifact.manifest["runtimes"][name]
    assert (row["status"], row["device"]) == ("passed", "CUDA")
    assert row["provider"] == name.partition(":")[2]


@pytest.mark.parametrize("state_dict_type", ["full", "sharded"])
def test_fsdp(state_dict_type: Any, fit: Any, tmp_path: Path) -> None:
    module, kept = Classifier(), ModelCheckpoint(tmp_path / "kept", monitor="val_loss")
    callback = ONNXExport(tmp_path / "onnx")
    strategy = FSDPStrategy(state_dict_type=state_dict_type, auto_wrap_policy={nn.Linear})
    try:
        fit(module, kept, callback, accelerator=GPU, devices=1, strategy=strategy)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert callback.failures == []
    best = Classifier()
    best.load_state_dict(read_checkpoint(kept.best_model_path)["state_dict"])
    assert_is(callback.artifact, best)


class TwoDevices(Classifier):
    """A table that stays on the CPU, as one that is too large for the GPU."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 1.5, 3))
        self.table = [torch.arange(12.0).reshape(4, 3)]  # in a list, so that Lightning does not move it
        self.register_buffer("held", torch.linspace(-1.0, 1.0, 3), persistent=False)

    def _apply(self, fn: Any, *args: Any, **kwargs: Any) -> Any:
        held = self.held
        moved = super()._apply(fn, *args, **kwargs)
        self.held = held.cpu()
        return moved

    def forward(self, x: Tensor) -> Tensor:
        row = (self.table[0][1] + self.held).to(x.device)
        return self.net(x) * self.scale + row


def test_buffers_on_two_devices(fit: Any, tmp_path: Path) -> None:
    module, callback = TwoDevices(), ONNXExport(tmp_path / "onnx", weights="live")
    devices: set[str] = set()
    module.on_train_batch_end = lambda *a, **k: devices.update({module.scale.device.type, module.held.device.type})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit(module, callback, accelerator=GPU, devices=1)
    assert devices == {GPU, "cpu"}
    assert callback.failures == []
    assert_is(callback.artifact, module)
