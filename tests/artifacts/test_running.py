"""The artifact in place of the module: ``run`` and ``as_module``."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lightning_onnx
from lightning_onnx import ONNXArtifact
from lightning_onnx.errors import ArtifactError, InputError, WorkerEnded


@dataclasses.dataclass
class Batch:
    image: Tensor
    more: dict[str, Any]
    label: Tensor | None = None


class Result(NamedTuple):
    logits: Tensor
    states: list[Tensor]


class Nested(nn.Module):
    """Takes a dataclass that holds a dict, and a scale; returns a named tuple that holds a list."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, batch: Batch, scale: Tensor) -> Result:
        hidden = self.layer(batch.image) * scale
        return Result(hidden, [batch.more["mask"].float(), hidden.relu()])


def batch_of(rows: int) -> Batch:
    return Batch(torch.randn(rows, 4), {"mask": torch.ones(rows, 2, dtype=torch.bool)}, torch.zeros(rows))


@pytest.fixture(scope="module")
def module() -> Nested:
    torch.manual_seed(0)
    return Nested().eval()


@pytest.fixture(scope="module")
def artifact(module: Nested, tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    directory = tmp_path_factory.mktemp("running") / "a"
    return lightning_onnx.export(module, (batch_of(2), torch.tensor(2.0)), directory=directory)


def test_run_takes_and_returns_what_the_module_does(artifact: ONNXArtifact, module: Nested) -> None:
    batch, scale = batch_of(5), torch.tensor(-1.5)
    with torch.no_grad():
        expected = module(batch, scale)
    as_dict = {"image": batch.image.numpy(), "more": {"mask": batch.more["mask"].numpy()}}
    for result in (
        artifact.run(batch, scale),
        artifact.run(batch, scale=scale),
        artifact.run(batch=as_dict, scale=-1.5),
        artifact.run(batch, scale, runtime="reference"),
    ):
        assert list(result) == ["logits", "states"]
        np.testing.assert_allclose(result["logits"], expected.logits, rtol=1e-5, atol=1e-6)
        assert isinstance(result["states"], list)
        np.testing.assert_allclose(result["states"][1], expected.states[1], rtol=1e-5, atol=1e-6)


def test_one_tensor_is_one_array(tmp_path: Path) -> None:
    layer = nn.Linear(2, 2)
    made = lightning_onnx.export(layer, torch.randn(3, 2), directory=tmp_path / "a")
    found = made.run([[1.0, 2.0]])
    np.testing.assert_allclose(found, layer(torch.tensor([[1.0, 2.0]])).detach(), rtol=1e-5, atol=1e-6)
    assert found.dtype == np.float32


def test_a_tuple_is_a_list(tmp_path: Path) -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            return x + 1, {"twice": x * 2}

    made = lightning_onnx.export(Pair(), torch.randn(3, 2), directory=tmp_path / "a")
    first, second = made.run(np.ones((1, 2), np.float32))
    assert first.tolist() == [[2, 2]]
    assert second["twice"].tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        (
            (),
            {},
            r"arguments 'batch', 'scale' are missing; the graph needs 'batch' with 'image', 'more' in it, 'scale'\.",
        ),
        ((batch_of(1), 1.0, 2.0), {}, "3 arguments were given"),
        ((batch_of(1), 1.0), {"scale": 2.0}, "'scale' was given twice"),
        ((batch_of(1), 1.0), {"size": 2.0}, "'size' is unknown"),
        (
            ({"image": batch_of(1).image}, 1.0),
            {},
            "batch has no 'more': it is a dict with the keys 'image'",
        ),
        ((Batch(torch.zeros(1, 4), {}), 1.0), {}, "batch.more has no 'mask'"),
        ((Batch(torch.zeros(1, 5), batch_of(1).more), 1.0), {}, r"float32\[batch, 4\]: dim 1 has to be 4, not 5"),
        ((Batch(torch.zeros(1, 5, 4), batch_of(1).more), 1.0), {}, "it has to have 2 dims, not 3"),
        ((Batch(torch.zeros(1, 4).double(), batch_of(1).more), 1.0), {}, "float64"),
        ((batch_of(1), "one"), {}, "'one' is not an array of float32"),
    ],
)
def test_what_does_not_fit(args: Any, kwargs: Any, message: str, artifact: ONNXArtifact) -> None:
    with pytest.raises(InputError, match=message):
        artifact.run(*args, **kwargs)


def test_a_dict_of_all_arguments_is_given_by_name() -> None:
    artifact = ONNXArtifact.load(Path(__file__).parents[1] / "golden/0.1.0/artifact")
    inputs = {spec.name: np.zeros((2, 4), np.float32) for spec in artifact.signature.inputs}
    with pytest.raises(InputError, match=r"one dict was given, but the graph needs .* Give its values by name: run\("):
        artifact.run(inputs)


def test_an_input_with_another_name_is_named() -> None:
    path = Path(__file__).parents[1] / "golden/0.1.0/artifact"
    manifest = json.loads((path / "manifest.json").read_text())
    (spec,) = manifest["inputs"]
    manifest["source"]["paths"] = {"inputs": {spec["name"]: ["raw"]}, "outputs": {}}
    with pytest.raises(
        InputError, match=rf"argument 'raw' is missing; the graph needs 'raw' \(its input '{spec['name']}'\)"
    ):
        ONNXArtifact(path, manifest).run()


def test_inputs_may_be_given_by_their_names_in_the_graph(artifact: ONNXArtifact) -> None:
    batch = batch_of(2)
    by_name = artifact.run(batch_image=batch.image, batch_more_mask=batch.more["mask"], scale=1.0)
    np.testing.assert_array_equal(by_name["logits"], artifact.run(batch, 1.0)["logits"])


def test_copies_and_pickles_run(artifact: ONNXArtifact) -> None:
    artifact.run(batch_of(1), 1.0)
    for other in (copy.deepcopy(artifact), pickle.loads(pickle.dumps(artifact))):
        assert other == artifact
        assert other.run(batch_of(1), 1.0)["logits"].shape == (1, 3)


@pytest.mark.slow
def test_it_runs_without_torch(artifact: ONNXArtifact) -> None:
    code = f"""
import sys
import numpy as np
from lightning_onnx import ONNXArtifact
artifact = ONNXArtifact.load({str(artifact.directory)!r})
batch = {{"image": np.zeros((2, 4), np.float32), "more": {{"mask": np.ones((2, 2), bool)}}}}
print(artifact.run(batch, 1.0)["logits"].shape, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split("\n")[0] == "(2, 3) False", done.stderr


class Classifier(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": self.layer(x)}

    def test_step(self, batch: Any) -> None:
        self.log("loss", nn.functional.cross_entropy(self(batch[0])["logits"], batch[1]))

    def predict_step(self, batch: Any) -> Tensor:
        return self(batch[0])["logits"].argmax(-1)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_trainer_runs_the_file(runtime: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = Classifier()
    made = lightning_onnx.export(module, torch.randn(2, 4), directory=tmp_path / "a")
    rows = DataLoader(TensorDataset(torch.randn(20, 4), torch.randint(3, (20,))), batch_size=8)
    trainer = Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    (own,) = trainer.test(module, rows, verbose=False)
    answered = made.as_module(module, runtime)
    (other,) = trainer.test(answered, rows, verbose=False)
    assert other["loss"] == pytest.approx(own["loss"], rel=1e-5)
    assert torch.equal(torch.cat(trainer.predict(answered, rows)), torch.cat(trainer.predict(module, rows)))
    answered.predict_step = lambda batch: LightningModule.predict_step(answered, batch)  # type: ignore[assignment]
    (first, *_) = trainer.predict(answered, DataLoader(torch.randn(4, 4), batch_size=2))
    assert first["logits"].shape == (2, 3)
    with torch.no_grad():
        module.layer.weight.zero_()  # the file answers, not the module
    assert trainer.test(made.as_module(module, runtime), rows, verbose=False)[0]["loss"] == pytest.approx(other["loss"])
    assert "forward" not in vars(module)


SLOW = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["fp16", pytest.param("int8", marks=SLOW), pytest.param("pt2", marks=SLOW)])
def test_a_variant_answers_for_the_module(variant: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, x = Classifier(), torch.randn(8, 4)
    made = lightning_onnx.export(module, x, directory=tmp_path / "a", variants=[variant])
    answered: Any = made.as_module(module, variant=variant)
    own, answer = made.run(x)["logits"], answered(x)["logits"].numpy()
    np.testing.assert_allclose(answer, own, atol=0.1 * np.abs(own).max())
    assert np.allclose(answer, own, atol=1e-5) == (variant == "pt2")
    with pytest.raises(ArtifactError, match="has no variant 'int4'; it has"):
        made.as_module(module, variant="int4")


def test_what_answers_for_the_module_cannot_be_trained(tmp_path: Path) -> None:
    made = lightning_onnx.export(Classifier(), torch.randn(2, 4), directory=tmp_path / "a")
    answered: Any = made.as_module(Classifier())
    with pytest.raises(InputError, match=r"a file cannot be trained\. Fit the module itself"):
        answered.training_step([torch.zeros(2, 4)], 0)


@pytest.mark.slow
def test_after_inputs_that_end_the_program_others_are_answered(tmp_path: Path) -> None:
    """The recurrent kernels of onnxruntime abort on a batch of no rows."""
    made = lightning_onnx.export(nn.GRU(2, 3, batch_first=True), torch.randn(2, 4, 2), directory=tmp_path / "a")
    with pytest.raises(WorkerEnded, match=r"\[0, 4, 2\]\); an input without rows may be the cause"):
        made.run(torch.zeros(0, 4, 2))
    assert made.run(torch.zeros(2, 4, 2))[0].shape == (2, 4, 3)


def test_a_module_of_other_sizes_is_refused(tmp_path: Path) -> None:
    made = lightning_onnx.export(nn.Linear(4, 3), torch.randn(2, 4), directory=tmp_path / "a")
    answered = made.as_module(nn.Linear(4, 5))
    with pytest.raises(
        InputError, match=r"output with the shape \[2, 5\], but the file returns output: float32\[batch, 3\]"
    ):
        answered(torch.zeros(2, 4))
    with pytest.raises(ArtifactError, match=r"has no method 'forwrd': did you mean 'forward'\? It has forward\.$"):
        made.method("forwrd")


def test_what_is_no_module_or_path(artifact: ONNXArtifact) -> None:
    wrong: Any = None
    with pytest.raises(InputError, match=r"takes a torch\.nn\.Module, got NoneType"):
        artifact.as_module(wrong)
    without: Any = nn.Module()
    without.forward = None
    with pytest.raises(InputError, match=r"Module has no method 'forward', for which the file answers"):
        artifact.as_module(without)
    with pytest.raises(ArtifactError, match=r"None is not a path\. Give the directory of an artifact"):
        ONNXArtifact.load(wrong)
