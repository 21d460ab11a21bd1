"""The models of the onnx package with their test data; those that onnxruntime cannot run are listed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from lightning_onnx import export
from lightning_onnx.artifacts import data_set
from lightning_onnx.checks import stored_data
from lightning_onnx.cli import main
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.runtimes import base
from lightning_onnx.runtimes.onnxruntime import ONNXRuntime
from lightning_onnx.runtimes.worker import client

KNOWN = {
    r"adagrad|adam|momentum|nesterov_momentum": "operators of training, which onnxruntime for inference lacks",
    r"flexattention": "an operator of ai.onnx.preview",
    r"BFLOAT16|FLOAT8|FLOAT4|INT4|INT2|bfloat16": "a type that numpy lacks and onnxruntime's binding does not take",
    r"^test_(de)?quantizelinear": "opset 28, for which onnxruntime 1.32 has no kernel",
    r"bernoulli|swiglu|roialign|optional_get_element": "an opset for which onnxruntime 1.32 has no kernel on the CPU",
    r"pow_types_float32_uint": "types for which onnxruntime has no kernel",
    r"training_dropout": "draws random numbers",
    r"_batchwise": "layout=1 of recurrent operators, which onnxruntime does not support",
    r"resize_downsample_scales_(linear|cubic)_align_corners": "onnxruntime and the specification differ",
    r"maxunpool_export_with_output_shape": "onnxruntime and the specification differ",
    r"attention_4d_with_past_and_present_qk_matmul_bias_.*_causal": "infinity in masked places differs",
    r"attention_4d_diff_heads_mask4d_padded_kv": "onnxruntime refuses the shapes",
    r"sequence|split_to_sequence": "test data that are sequences, which are skipped",
}


def known(name: str) -> bool:
    return any(re.search(pattern, name) for pattern in KNOWN)


def save(case: Any, directory: Path) -> None:
    directory.mkdir()
    onnx.save(case.model, directory / "model.onnx")
    for number, (inputs, outputs) in enumerate(case.data_sets):
        data = directory / f"test_data_set_{number}"
        data.mkdir()
        for kind, values, specs in (
            ("input", inputs, case.model.graph.input),
            ("output", outputs, case.model.graph.output),
        ):
            for i, (value, spec) in enumerate(zip(values, specs, strict=False)):
                if isinstance(value, (np.ndarray, np.generic)):
                    value = numpy_helper.from_array(np.asarray(value), spec.name)
                elif isinstance(value, list):
                    value = numpy_helper.from_list(value, spec.name)
                if value is not None:
                    (data / f"{kind}_{i}.pb").write_bytes(value.SerializeToString())


def takes_floats(case: Any) -> bool:
    kinds = [v.type.tensor_type.elem_type for v in case.model.graph.input]
    return onnx.TensorProto.FLOAT in kinds


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_node_with_floats(tmp_path: Path) -> None:
    from onnx.backend.test.case.node import collect_testcases

    runtime = client.hosted(base.DEFAULT)
    passed, unexpected = 0, {}
    for case in filter(takes_floats, collect_testcases(None)):
        save(case, tmp_path / case.name)
        model, sets = tmp_path / case.name / "model.onnx", data_set.find_data_sets(tmp_path / case.name)
        row = stored_data.check(model, sets, base.DEFAULT, case.rtol, runtime=runtime)
        passed += row["status"] == "passed"
        if row["status"] != "passed" and not known(case.name):
            unexpected[case.name] = row["reason"]
    assert not unexpected
    assert passed > 1000


def stored() -> list[Path]:
    return sorted((Path(onnx.backend.test.__file__).parent / "data").glob("*/*/model.onnx"))


STORED = {
    "opset": "below opset 7 onnxruntime has kernels of few operators",
    "gradient_of": "an operator of ai.onnx.preview.training",
    "strnorm": "strings, and a locale that the machine may lack",
}


@pytest.mark.slow
def test_every_stored_model() -> None:
    runtime = client.hosted(base.DEFAULT)
    passed, unexpected = 0, {}
    for model in stored():
        row = stored_data.check(model, data_set.find_data_sets(model.parent), base.DEFAULT, 1e-3, runtime=runtime)
        passed += row["status"] == "passed"
        opset = max(o.version for o in onnx.load(model).opset_import)
        listed = opset < 7 or any(word in model.parent.name for word in STORED)
        if row["status"] != "passed" and not listed:
            unexpected[model.parent.name] = row["reason"]
    assert not unexpected
    assert passed > 90


def test_the_command_takes_their_files(capsys: pytest.CaptureFixture[str]) -> None:
    model = next(m for m in stored() if m.parent.name == "test_Conv2d")
    assert main.main(["check", str(model), "--runtime", "onnxruntime", "--runtime", "reference"]) == 0
    assert capsys.readouterr().out.count("passed") == 2


class Rest(nn.Module):
    """A large number beside what is left of two sums of the same terms."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.sum(1, keepdim=True)
        return torch.cat([total * 1e6, x.flip(1).sum(1, keepdim=True) - total, x[:, :1].tanh() + 2], 1)


class Altered(ONNXRuntime):
    """onnxruntime with another last column."""

    def load(self, model_path: Path) -> Any:
        session = super().load(model_path)
        original = session.run
        session.run = lambda inputs: {
            n: y * np.array([1, 1, self.factor], y.dtype) for n, y in original(inputs).items()
        }
        return session

    factor = 1.0


@pytest.mark.slow
def test_a_column_that_is_rounding_noise_is_no_difference_and_one_that_is_not_is_one(tmp_path: Path) -> None:
    x = torch.randn(4, 501, generator=torch.Generator().manual_seed(0)) * 100
    made = export(Rest(), x, directory=tmp_path / "made")
    directory = next(iter(data_set.find_data_sets(made.model_path.parent)))
    stored = data_set.read_data_set(directory, ModelSpecs.read(made.model_path)).outputs["output"].copy()
    stored[:, 1] *= -3  # the rest that another program has
    (directory / "output_0.pb").write_bytes(numpy_helper.from_array(stored, "output").SerializeToString())
    runtime = Altered()
    for runtime.factor, status in ((1.0, "passed"), (1.4, "failed")):
        row = stored_data.check(made.model_path, [directory], "onnxruntime", runtime=runtime)
        assert row["status"] == status
