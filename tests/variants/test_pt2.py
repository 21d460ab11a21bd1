"""The captured program beside the model: run by torch in a process without this package, and read as bytes."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_onnx import PT2, ONNXArtifact, ONNXExport, export
from lightning_onnx.cli import main
from lightning_onnx.onnxfile.program_file import MEMBER, read_metadata, read_specs
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.tracing import program
from lightning_onnx.variants.pt2 import problems
from tests.models import Classifier

pytestmark = pytest.mark.slow

ROWS = torch.randn(24, 6, generator=torch.Generator().manual_seed(1))

_OUTSIDE = """
import sys, torch
program, inputs, outputs = sys.argv[1:]
run = torch.export.load(program).module()
torch.save([run(*each) for each in torch.load(inputs)], outputs)
assert not [name for name in sys.modules if name.startswith("lightning")]
"""


def outside(path: Path, calls: list[tuple[Tensor, ...]], scratch: Path) -> list[tuple[Tensor, ...]]:
    """Run a program in a process that has torch and nothing of this package."""
    torch.save(calls, scratch / "inputs")
    arguments = [sys.executable, "-c", _OUTSIDE, str(path), str(scratch / "inputs"), str(scratch / "outputs")]
    subprocess.run(arguments, check=True, timeout=250)
    found: list[tuple[Tensor, ...]] = torch.load(scratch / "outputs")
    return found


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[ONNXArtifact]:
    """Two artifacts of one run, of two checkpoints."""
    root = tmp_path_factory.mktemp("trained")
    saving = ModelCheckpoint(root / "saved", save_top_k=-1, monitor="val_loss")
    callback = ONNXExport(root / "onnx", when="checkpoint", variants=["pt2"])
    data = DataLoader(TensorDataset(ROWS, torch.arange(24) % 3), batch_size=8)
    trainer = Trainer(
        max_epochs=2, accelerator="cpu", logger=False, callbacks=[saving, callback], enable_progress_bar=False
    )
    trainer.fit(Classifier(), data, data)
    assert callback.failures == []
    return callback.artifacts


def test_each_checkpoint_has_a_program_with_its_weights(trained: Any, tmp_path: Path) -> None:
    assert len(trained) == 2
    calls = [(torch.randn(batch, 6),) for batch in (1, 2, 7)]
    answers = []
    for artifact in trained:
        (entry,) = artifact.manifest["variants"]
        assert (entry["status"], entry["file"], entry["class"]) == ("passed", "model.pt2", "PT2"), entry["reason"]
        assert entry["checks"][0]["status"] == "passed"
        assert artifact.variant_path("pt2").is_file()
        found = outside(artifact.variant_path("pt2"), calls, tmp_path)
        for (x,), (y,) in zip(calls, found, strict=True):
            np.testing.assert_allclose(y.detach().numpy(), artifact.run(x), rtol=1e-4, atol=1e-6)
        answers.append(found)
    assert not torch.equal(answers[0][2][0], answers[1][2][0])  # the weights of the checkpoints differ


def test_a_class_may_have_the_name_of_the_user(trained: Any, tmp_path: Path, monkeypatch: Any) -> None:
    program, original = trained[0].variant_path("pt2"), tmp_path / "model.onnx"
    model = onnx.load(trained[0].model_path)
    named = model.graph.output[0].name
    monkeypatch.setattr(getpass, "getuser", lambda: named)
    assert f"it contains private data: {named}" in problems(trained[0].model_path, program)
    model.metadata_props.add(key="other", value=f"{{0: '{named}', 1: 'other'}}")
    onnx.save(model, original)
    assert not [problem for problem in problems(str(original), program) if "private" in problem]


def test_it_describes_itself_and_holds_nothing_private(trained: Any) -> None:
    artifact = trained[0]
    path = artifact.variant_path("pt2")
    assert read_specs(path) == ModelSpecs.read(artifact.model_path)
    assert read_metadata(path)["lightning_onnx.variant"] == "pt2"
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    assert {name.partition("/")[0] for name in content} == {"model"}
    assert f"model/extra/{MEMBER}" in content
    texts = [b"File ", b".py", b"site-packages", b"stack_trace", str(Path.cwd()).encode(), b"self.", b"forward("]
    found = [(name, text) for name, value in content.items() for text in texts if text in value]
    assert found == []
    assert not [name for name, value in content.items() for row in ROWS if row.numpy().tobytes() in value]


def test_check_and_bench_know_it(trained: Any, tmp_path: Path, capsys: Any) -> None:
    path = trained[0].variant_path("pt2")
    assert main.main(["check", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["runtimes"]["torch"]["status"] == "passed"
    plot = str(tmp_path / "plot.svg")
    assert main.main(["bench", str(path), "--seconds", "0.1", "--batch", "2", "--plot", plot, "--json"]) == 0
    assert set(json.loads(capsys.readouterr().out)["batch_2"]) == {"torch"}
    assert main.main(["check", str(path), "--runtime", "onnxruntime"]) == 2
    assert "runs only in torch. Leave out --runtime and --require." in capsys.readouterr().err

    loaded = torch.export.load(path)
    with torch.no_grad():
        for value in loaded.parameters():
            value.mul_(2)
    with zipfile.ZipFile(path) as archive:
        described = archive.read(f"model/extra/{MEMBER}").decode()
    torch.export.save(loaded, tmp_path / "model.pt2", extra_files={MEMBER: described})
    data = str(path.parent / "test_data_set_0")
    assert main.main(["check", str(tmp_path / "model.pt2"), "--data", data]) == 1
    assert "outside the tolerance" in capsys.readouterr().out
    torch.export.save(loaded, tmp_path / "foreign.pt2")
    (tmp_path / "text.pt2").write_text("no zip")
    for name, message in (("foreign", "it was not saved by this package"), ("text", "is no .pt2 file")):
        assert main.main(["check", str(tmp_path / f"{name}.pt2")]) == 2
        assert message in capsys.readouterr().err


class Computed(nn.Module):
    """Weights that are computed from weights, a buffer that no checkpoint holds, and a recurrent layer."""

    def __init__(self) -> None:
        super().__init__()
        self.turned = nn.utils.parametrizations.orthogonal(nn.Linear(4, 4))
        self.steps = nn.LSTM(4, 3, batch_first=True)
        self.register_buffer("shift", torch.arange(4.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.steps(self.turned(x) + self.shift)[0]


def test_computed_weights_and_several_inputs(tmp_path: Path) -> None:
    x = torch.randn(2, 5, 4)
    module = Computed().eval()
    artifact = export(module, x, directory=tmp_path / "a", variants=[PT2(name="captured")], test_data=None)
    assert artifact.variant_path("captured").name == "model.captured.pt2"
    (found,) = outside(artifact.variant_path("captured"), [(x,)], tmp_path)
    torch.testing.assert_close(found[0], module(x), rtol=1e-4, atol=1e-5)


def test_a_graph_without_a_program_is_skipped(tmp_path: Path) -> None:
    options: dict[str, Any] = {"variants": ["pt2"], "engine": "torchscript", "test_data": None}
    artifact = export(nn.Linear(4, 3).eval(), torch.randn(2, 4), directory=tmp_path / "a", **options)
    (entry,) = artifact.manifest["variants"]
    assert (entry["status"], entry["file"]) == ("skipped", None)
    assert entry["reason"] == "no single program of torch.export made the graph, so there is none to save"


def test_one_with_stack_traces_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_KEPT", {"val", "stack_trace"})
    artifact = export(
        nn.Sequential(nn.Linear(4, 3), nn.ReLU()).eval(), torch.randn(2, 4), directory=tmp_path / "a", variants=["pt2"]
    )
    (entry,) = artifact.manifest["variants"]
    assert entry["status"] == "failed"
    assert "it contains private data" in entry["reason"]
    assert not (artifact.directory / "model.pt2").exists()
