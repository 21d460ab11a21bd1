"""For a file with one wrong node, exactly this node is named."""

from __future__ import annotations

import functools
import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, NodeProto
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import Parity
from lightning_onnx.artifacts.artifact import MODEL
from lightning_onnx.checks import divergence, inner_comparison
from lightning_onnx.checks.base import CheckContext, CheckResult
from lightning_onnx.checks.loaders import NO_LOADERS
from lightning_onnx.errors import ParityError
from lightning_onnx.module.calls import matching
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.weights import copying
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.method_file import check_context
from lightning_onnx.pipeline.prepare import prepare
from lightning_onnx.report.report import Report
from lightning_onnx.runtimes.worker import client
from lightning_onnx.tracing.graph import Graph
from tests import models

ENGINES = ("dynamo", "torchscript")

Change = Callable[[ModelProto], NodeProto]
"""Breaks a node of a model, and returns it."""


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).softmax(-1)


class Twice(nn.Module):
    """A block that is called twice, by a method that computes something itself."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(6, 6), nn.Sigmoid())
        self.head = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.block(x).exp()))


class Folded(nn.Module):
    """Norms without nodes in the file."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)
        )
        for norm in (self.net[1], self.net[4]):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).mean((2, 3))


def exported(module: nn.Module, sample: Any, directory: Path, engine: str) -> CheckContext:
    """Write the module's file."""
    copied = copying.private_copy(module)
    observation = Observation.of(matching.sample_of(copied, "forward", sample), "a test")
    plan = prepare(copied, [observation], ExportConfig(engine=engine))
    flat = FlatModule(copied, "forward", plan.graph.request.sample, is_stochastic=plan.is_stochastic)
    path = directory / MODEL
    plan.graph.refresh(flat, {}, path)
    return check_context(plan, flat, path, NO_LOADERS, threads=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, Path], CheckContext]:
    """Return a file of one of the modules above, exported once for all tests, and copied for each."""

    @functools.cache
    def once(name: str, engine: str) -> CheckContext:
        torch.manual_seed(0)  # whichever test asks first
        module: nn.Module = {"Layers": Layers, "Twice": Twice, "Folded": Folded}[name]()
        sample = torch.randn(2, 2, 8, 8) if name == "Folded" else torch.randn(4, 6)
        return exported(module, ((sample,), {}), tmp_path_factory.mktemp(name), engine)

    def copied(name: str, engine: str, directory: Path) -> CheckContext:
        context = once(name, engine)
        cases = tuple(case for case in context.cases if case.kind != "values")
        return context.replace(model_path=Path(shutil.copy(context.model_path, directory)), cases=cases)

    return copied


@pytest.fixture
def layers(made: Callable[[str, str, Path], CheckContext], tmp_path: Path) -> CheckContext:
    """The file of ``Layers``."""
    return made("Layers", "dynamo", tmp_path)


def broken(context: CheckContext, change: Change) -> tuple[NodeProto, CheckResult]:
    model = onnx.load(context.model_path)
    node = change(model)
    onnx.save(model, context.model_path)
    return node, Parity()(reloaded(context))


def reloaded(context: CheckContext) -> CheckContext:
    """The same context, with its file read again."""
    return context.replace(model_path=context.model_path)


def other_operator(old: str, new: str, number: int = 0, **attributes: float) -> Change:
    def change(model: ModelProto) -> NodeProto:
        node = [n for n in model.graph.node if n.op_type == old][number]
        node.op_type = new
        node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in attributes.items())
        return node

    return change


def other_weight(operator: str, number: int, change: Callable[[Any], Any] = lambda w: w * 2 + 1) -> Change:
    def changed(model: ModelProto) -> NodeProto:
        node = [n for n in model.graph.node if n.op_type == operator][number]
        (weight,) = (w for w in model.graph.initializer if w.name == node.input[1])
        weight.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(weight).copy()), weight.name))
        return node

    return changed


LEAKY = other_operator("Relu", "LeakyRelu", 1, alpha=0.3)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_another_operator_is_named(made: Any, engine: str, tmp_path: Path) -> None:
    node, result = broken(made("Layers", engine, tmp_path), LEAKY)
    found = result.figures["first_difference"]
    source = "aten.relu.default" if engine == "dynamo" else None
    assert found["max_rel_diff"] > 1e-2
    assert found | {"max_rel_diff": 0} == {
        "node": node.name, "operator": "LeakyRelu", "module": "net.3", "source": source, "output": "output",
        "max_rel_diff": 0,
    }  # fmt: skip
    assert result.status == "failed"
    assert result.reason is not None
    end = ", aten.relu.default" if engine == "dynamo" else ""
    assert result.reason.endswith(f"; first differs at node '{node.name}' (LeakyRelu) of module 'net.3'{end}")


@pytest.mark.parametrize("engine", ENGINES)
def test_another_weight_is_named(made: Any, engine: str, tmp_path: Path) -> None:
    node, result = broken(made("Layers", engine, tmp_path), other_weight("Gemm", 1))
    found = result.figures["first_difference"]
    assert (found["node"], found["operator"], found["module"]) == (node.name, "Gemm", "net.2")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("number", [0, 1])
def test_of_a_module_called_twice_the_call_is_known(made: Any, number: int, engine: str, tmp_path: Path) -> None:
    context = made("Twice", engine, tmp_path)
    node, result = broken(context, other_operator("Sigmoid", "Tanh", number))
    found = result.figures["first_difference"]
    assert found["node"] == node.name
    if engine == "dynamo":  # the other engine counts the calls in the name
        assert found["module"] == "block.1"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_what_the_method_does_itself_is_named(made: Any, engine: str, tmp_path: Path) -> None:
    node, result = broken(made("Twice", engine, tmp_path), other_operator("Exp", "Neg"))
    found = result.figures["first_difference"]
    assert (found["node"], found["module"]) == (node.name, "")
    assert "of module" not in (result.reason or "")


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("number", [0, 1])
def test_folded_norms_are_not_a_difference(made: Any, number: int, engine: str, tmp_path: Path) -> None:
    context = made("Folded", engine, tmp_path)
    assert Parity()(context).status == "passed"
    node, result = broken(context, other_weight("Conv", number))
    assert result.figures["first_difference"]["node"] == node.name


def test_wrong_at_another_batch(layers: CheckContext) -> None:
    """A size that was baked in: the constant is that of the traced batch."""
    traced = len(layers.cases[0].tensors[0])

    def bake(model: ModelProto) -> NodeProto:
        node = next(n for n in model.graph.node if n.op_type == "Relu")
        rows = onnx.numpy_helper.from_array((np.arange(99)[:, None] < traced).astype(np.float32), "rows")
        start, name = onnx.numpy_helper.from_array(np.array([0], np.int64), "start"), node.output[0]
        model.graph.initializer.extend([rows, start])
        inner = [
            onnx.helper.make_node("Shape", [name + "_all"], ["size"], "shape", end=1),
            onnx.helper.make_node("Slice", ["rows", "start", "size"], ["mask"], "slice"),
            onnx.helper.make_node("Mul", [name + "_all", "mask"], [name], "masked"),
        ]
        node.output[0] += "_all"
        place = list(model.graph.node).index(node) + 1
        for new in reversed(inner):
            model.graph.node.insert(place, new)
        return inner[-1]

    _, result = broken(layers, bake)
    found = result.figures["first_difference"]
    assert found["node"] == "masked"
    assert len(found["or_before"]) == 1  # its Relu has lost the name
    assert "or at the node before it" in (result.reason or "")


def test_nan_on_one_side(layers: CheckContext) -> None:
    node, result = broken(layers, other_weight("Gemm", 1, lambda w: w * np.float32("nan")))
    found = result.figures["first_difference"]
    assert (found["node"], found["max_rel_diff"]) == (node.name, None)
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.slow
def test_a_wrong_translation_is_named_before_training(tmp_path: Path) -> None:
    from onnxscript import opset20 as op

    def wrong(self: Any) -> Any:
        return op.Tanh(self)

    options = {"custom_translation_table": {torch.ops.aten.relu.default: wrong}}
    with pytest.raises(ParityError, match=r"first differs at node '\w+' \(Tanh\) of module 'net\.1', aten\.relu"):
        lightning_onnx.export(Layers(), torch.randn(4, 6), directory=tmp_path / "a", export_options=options)


@pytest.mark.slow
def test_reports_say_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refresh = Graph.refresh

    def wrong(self: Graph, flat: Any, metadata: Any, destination: Path, *options: Any) -> Any:
        written = refresh(self, flat, metadata, destination, *options)
        model = onnx.load(destination)
        LEAKY(model)
        onnx.save(model, destination)
        return written

    monkeypatch.setattr(Graph, "refresh", wrong)
    artifact = lightning_onnx.export(Layers(), torch.randn(4, 6), directory=tmp_path / "a")
    assert not artifact.passed
    (check,) = artifact.manifest["checks"]
    node = check["figures"]["first_difference"]["node"]
    assert node in {n.name for n in onnx.load(artifact.model_path).graph.node}
    report = Report(artifact.manifest)
    assert "parity: where they differ" in report.text()
    for text in (report.text(), report.markdown().replace("\\", ""), report.html()):
        assert text.count(node) >= 2  # the check's reason, and its figures
        assert "aten.relu.default" in text


# What must not happen -----------------------------------------------------------------------------------------------


def never(*_: Any) -> None:
    raise AssertionError("nothing failed, so nothing is looked for")


def test_no_search_if_parity_passed_or_found_noise(layers: CheckContext) -> None:
    context = layers.replace(inner=never)
    assert Parity()(context).status == "passed"
    noisy = context.replace(perturbed=lambda tensors, seed: [-t for t in context.module.reference(tensors)])
    _, result = broken(noisy, LEAKY)
    assert result.status == "skipped"
    assert "first_difference" not in result.figures


@pytest.mark.slow
def test_a_failure_to_find_it_leaves_the_result(layers: CheckContext) -> None:
    _, told = broken(layers, LEAKY)
    assert "first_difference" in told.figures
    mute = Parity()(layers.replace(inner=None))
    for hidden in (
        layers.replace(inner=never),
        layers.replace(runtime=Dies()),
        layers.replace(inner=lambda graph, tensors, take: None),
    ):
        assert Parity()(hidden) == mute


class Dies:
    """onnxruntime whose process ends when a second file is loaded."""

    name = "onnxruntime"

    def __init__(self) -> None:
        self.runtime = client.hosted("onnxruntime", own_process=True)
        self.loaded = 0

    def version(self) -> str:
        return self.runtime.version()

    def load(self, model_path: Path) -> Any:
        self.loaded += 1
        if self.loaded > 1:
            self.runtime.worker.call("os:abort")
        return self.runtime.load(model_path)


def test_a_program_that_is_not_the_module_proves_nothing(layers: CheckContext) -> None:
    other = layers.replace(reference=lambda tensors: [t.flip(-1) for t in layers.module.reference(tensors)])
    result = Parity()(other.replace(perturbed=lambda tensors, seed: other.module.reference(tensors)))
    assert result.status == "failed"
    assert "first_difference" not in result.figures


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_left_behind(made: Any, engine: str, tmp_path: Path) -> None:
    context = made("Layers", engine, tmp_path)
    assert isinstance(context.module.flat, FlatModule)
    before = torch.get_rng_state()
    broken(context, LEAKY)
    content = context.model_path.read_bytes()
    assert torch.equal(before, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in context.module.flat.modules())
    assert [p.name for p in tmp_path.iterdir()] == [MODEL]
    assert context.model_path.read_bytes() == content


@pytest.mark.slow
def test_values_are_compared_in_portions(layers: CheckContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_comparison, "_AT_ONCE", 200)
    node, result = broken(layers, LEAKY)
    assert result.figures["first_difference"]["node"] == node.name


def test_large_models_are_left_out(layers: CheckContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divergence, "_LARGEST", 100)
    _, result = broken(layers, LEAKY)
    assert "first_difference" not in result.figures


# Contract -----------------------------------------------------------------------------------------------------------

OTHERS = {"Relu": "Neg", "Sigmoid": "Tanh", "Add": "Sub", "Mul": "Sub", "Exp": "Neg", "ReduceSum": "ReduceMean"}


def any_node(seed: int) -> Change:
    def change(model: ModelProto) -> NodeProto:
        sizes = {w.name: np.prod(w.dims) for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT}
        uses = Counter(name for node in model.graph.node for name in node.input)
        nodes = [
            n for n in model.graph.node if len(n.input) > 1 and sizes.get(n.input[1], 0) > 2 and uses[n.input[1]] < 2
        ]
        nodes += [n for n in model.graph.node if n.op_type in OTHERS]
        node = random.Random(seed).choice(nodes)
        if node.op_type in OTHERS:
            node.op_type = OTHERS[node.op_type]
            return node
        (weight,) = (w for w in model.graph.initializer if w.name == node.input[1])
        noise = np.random.default_rng(seed).normal(size=list(weight.dims)).astype(np.float32)
        values = onnx.numpy_helper.to_array(weight) + noise
        weight.CopyFrom(onnx.numpy_helper.from_array(values, weight.name))
        return node

    return change


def module_and_sample(name: str) -> tuple[nn.Module, Any]:
    module = getattr(models, name)()
    batch = next(iter(module.batches()))
    return module, (((batch["ids"],), {"mask": batch["mask"]}) if isinstance(batch, dict) else ((batch[0],), {}))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["Classifier", "EqualAtInit", "Tokens", "NeverCallsForward"])
def test_the_named_node_is_in_the_file_and_to_blame(name: str, engine: str, tmp_path: Path) -> None:
    context = exported(*module_and_sample(name), tmp_path, engine)
    sound = context.model_path.read_bytes()
    named = 0
    for seed in range(8):
        context.model_path.write_bytes(sound)
        node, result = broken(context, any_node(seed))
        found = result.figures.get("first_difference")
        if found is not None:
            named += 1
            assert found["node"] in {n.name for n in onnx.load(context.model_path).graph.node}
            assert node.name in (found["node"], *found.get("or_before", ()))
    assert named >= 6  # what is wrong may not be seen, in a ReLU that is never active
