"""The options of onnxruntime's quantizers, read back from the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from lightning.pytorch import LightningModule
from onnx import numpy_helper
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_onnx import ConfigurationError, Int8
from lightning_onnx.cli.main import main
from lightning_onnx.manifest.results import VariantRecord
from lightning_onnx.variants import judging
from lightning_onnx.variants.int8 import suitable_mode
from tests.variants.conftest import MODULES, exported, module_of

pytestmark = pytest.mark.slow

SHAPE = MODULES["convolutions"][1]


def made(context: Any, variant: Int8, target: str | None = None) -> tuple[VariantRecord, onnx.ModelProto]:
    (found,) = judging.make([variant], context, target=target)
    assert found.record.status == "passed", found.record.reason
    return found.record, onnx.load(context.model_path.with_name(found.record.file or ""))


@pytest.fixture
def context(staged: Any) -> Any:
    return staged(module_of("convolutions"), torch.randn(SHAPE))


def quantizers(model: onnx.ModelProto) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Scale and zero point of each activation."""
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return [(values[n.input[1]], values[n.input[2]]) for n in model.graph.node if n.op_type == "QuantizeLinear"]


def weights(model: onnx.ModelProto) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Values, scales and zero points of what is stored quantized and has more than one dim."""
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    nodes = [n for n in model.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in values]
    found = [(values[n.input[0]], values[n.input[1]], values[n.input[2]]) for n in nodes]
    return [w for w in found if w[0].ndim > 1]


def test_x86_is_u8s8(context: Any) -> None:
    entry, model = made(context, Int8())
    assert entry.notes[0] == "quantized statically for x86"
    assert quantizers(model)
    assert {zero.dtype.name for _, zero in quantizers(model)} == {"uint8"}
    assert len(weights(model)) == 3
    for values, scales, zeros in weights(model):
        assert values.dtype == np.int8
        assert not zeros.any()
        assert scales.size in values.shape  # one per channel


@pytest.mark.parametrize(("variant", "target"), [(Int8(preset="tensorrt"), None), (Int8(), "tensorrt-10")])
def test_tensorrt_is_s8s8_symmetric_with_biases_in_float32(context: Any, variant: Int8, target: str | None) -> None:
    entry, model = made(context, variant, target)
    assert entry.notes[0] == "quantized statically for tensorrt"
    for _, zero in quantizers(model):
        assert zero.dtype == np.int8
        assert not zero.any()
    assert all(values.dtype == np.int8 and not zeros.any() for values, _, zeros in weights(model))
    biases = [n.input[2] for n in model.graph.node if n.op_type in ("Conv", "Gemm") and len(n.input) > 2]
    kinds = {t.name: t.data_type for t in model.graph.initializer}
    assert biases
    assert {kinds[name] for name in biases} == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize(
    ("variant", "largest"),
    [(Int8(), 64), (Int8(preset="tensorrt"), 127), (Int8(reduce_range=False, max_difference=0.5), 127)],
    ids=["x86", "tensorrt", "8 bits"],
)
def test_two_products_of_x86_fit_into_16_bits(variant: Int8, largest: int, context: Any) -> None:
    _, model = made(context, variant)
    assert max(np.abs(values.astype(int)).max() for values, _, _ in weights(model)) == largest
    assert 2 * 255 * 64 < 2**15 < 2 * 255 * 127


def test_a_dynamic_model_is_right_on_cpus_without_vnni(staged: Any) -> None:
    """Without 7-bit weights, AVX2 gets a tenth of such outputs wrong by a fifth of their scale and more."""
    context = staged(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32)).eval(), torch.randn(2, 64))
    entry, model = made(context, Int8())
    stored = [numpy_helper.to_array(t) for t in model.graph.initializer]
    assert {np.abs(w.astype(int)).max() for w in stored if w.dtype == np.int8 and w.ndim > 1} == {64}
    assert entry.figures["worst_difference"] < 0.1


def test_one_scale_a_tensor(context: Any) -> None:
    _, model = made(context, Int8(per_channel=False))
    assert all(scales.size == 1 for _, scales, _ in weights(model))


class Validated(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = module_of("convolutions")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.net(image)

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("size", self(batch).abs().mean())


def test_ranges_come_from_the_validation_loop(staged: Any) -> None:
    batches = torch.rand(5, *SHAPE[1:]) * torch.arange(1, 6).reshape(5, 1, 1, 1)  # only the first 3 of 5 are used
    context = staged(Validated().eval(), torch.randn(SHAPE), DataLoader(batches, batch_size=1))
    (found,) = judging.make([Int8(calibration_batches=3, max_difference=1.0, metric="size")], context)
    assert "calibrated on 3 calls of the validation loop" in found.record.notes
    model = onnx.load(context.model_path.with_name("model.int8.onnx"))
    first = next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "image")
    (scale,) = (numpy_helper.to_array(t) for t in model.graph.initializer if t.name == first.input[1])
    assert scale == pytest.approx(float(batches[:3].max()) / 255, rel=1e-3)


def test_the_scale_of_the_input_is_that_of_the_data(context: Any) -> None:
    _, model = made(context, Int8())
    first = next(n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == "image")
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    x = context.cases[0].tensors[0]
    assert values[first.input[1]] == pytest.approx(float(x.max() - x.min()) / 255, rel=1e-3)


def test_without_a_loop_a_note_names_the_calibration_data(context: Any) -> None:
    entry, _ = made(context, Int8())
    assert entry.notes[1] == "calibrated on 1 call seen when the module was traced: there are no validation batches"


def test_dynamic_by_name_and_by_graph(staged: Any) -> None:
    module = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4)).eval()
    context = staged(module, torch.randn(2, 8))
    assert suitable_mode(str(context.model_path)) == "dynamic"
    entry, model = made(context, Int8())
    assert entry.notes == ("quantized dynamically",)
    assert {"DynamicQuantizeLinear", "MatMulInteger"} <= {n.op_type for n in model.graph.node}
    entry, model = made(context, Int8(mode="static", name="int8-static"))
    assert entry.file == "model.int8-static.onnx"
    assert "DynamicQuantizeLinear" not in {n.op_type for n in model.graph.node}


def test_static_if_most_layers_are_convolutions(context: Any) -> None:
    assert suitable_mode(str(context.model_path)) == "static"


@pytest.mark.slow
@pytest.mark.parametrize("calibrate", ["entropy", "percentile"])
def test_other_ways_to_find_ranges(calibrate: str, context: Any) -> None:
    made(context, Int8(calibrate=calibrate, max_difference=0.5))


@pytest.mark.slow
def test_weights_of_a_recurrent_layer_are_quantized(staged: Any) -> None:
    context = staged(module_of("sequence"), torch.randn(MODULES["sequence"][1]))
    _, model = made(context, Int8())
    assert "DynamicQuantizeLSTM" in {n.op_type for n in model.graph.node}
    assert {o.domain for o in model.opset_import} == {"", "com.microsoft"}


class NothingToQuantize(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.abs()


def test_nothing_to_quantize(staged: Any) -> None:
    context = staged(NothingToQuantize(), torch.randn(2, 4))
    (found,) = judging.make([Int8()], context)
    assert found.record.status == "failed"
    assert "the model has no operator that onnxruntime's quantizer supports" in (found.record.reason or "")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "weights"}, r"Int8\(mode='weights'\).*'auto', 'static', 'dynamic'"),
        ({"preset": "arm"}, r"'x86', 'tensorrt'"),
        ({"calibrate": "mse"}, "'minmax', 'entropy', 'percentile'"),
        ({"calibration_batches": 0}, r"is invalid\. Give a number of 1"),
        ({"mode": "dynamic", "preset": "tensorrt"}, "only statically quantized models"),
        ({"max_difference": "small"}, "max_difference='small'"),
        ({"max_metric_drop": True}, "max_metric_drop=True"),
        ({"name": "a/b"}, "is invalid in a file name"),
        ({"metric": 3}, "Give the name of a logged metric"),
    ],
)
def test_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Int8(**options)


class Contrast(nn.Module):
    """On even images its result is small; on noise it is far outside the calibrated range."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, (1, 2), bias=False)
        self.conv.weight.data = torch.tensor([[1.0, -0.9], [-0.9, 1.0]]).reshape(2, 1, 1, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(image).relu()


def test_check_expects_what_the_variant_answered_when_it_was_made(tmp_path: Path, capsys: Any) -> None:
    """Its test data are made-up values, and its limit holds for values like the observed ones."""
    image = torch.linspace(0.5, 1.5, 4).reshape(4, 1, 1, 1).expand(4, 1, 8, 8).contiguous()
    made = exported(Contrast(), image, tmp_path / "a", variants=[Int8()], test_data="synthetic")
    (variant,) = made.manifest["variants"]
    assert (variant["status"], variant["figures"]["worst_difference"] < 0.1) == ("passed", True)
    assert variant["figures"]["test_data_difference"] > 0.1
    assert main(["check", str(made.directory)]) == 0
    said = capsys.readouterr().out.splitlines()[1]
    assert re.fullmatch(r"int8: passed .* is allowed, because it was \d.\de-01 when the variant was made", said), said
    output = made.directory / "test_data_set_0" / "output_0.pb"
    values = numpy_helper.to_array(onnx.TensorProto.FromString(output.read_bytes()))
    output.write_bytes(numpy_helper.from_array(-values).SerializeToString())
    assert main(["check", str(made.variant_path("int8"))]) == 1
