"""The JavaScript runs in Node.js, and its answer is the module's."""

from __future__ import annotations

import dataclasses
import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lightning_onnx
from lightning_onnx import ConfigurationError, ONNXArtifact
from lightning_onnx.cli import main
from lightning_onnx.manifest.contract import Contract, OutputContract, Step
from lightning_onnx.module.calls.signature import Signature, TensorSpec
from lightning_onnx.report import snippet as snippet_python
from lightning_onnx.report.snippet_javascript import snippet
from tests.report.test_page_in_browser import BROWSER, browse

MODULES = "LIGHTNING_ONNX_NODE_MODULES"
"""A ``node_modules`` that has onnxruntime-node."""


class Net(nn.Module):
    """Several dtypes, and names that mean something in JavaScript."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(9, 3)
        self.head = nn.Linear(3, 2)

    def forward(self, ids: Tensor, mask: Tensor, scale: Tensor) -> dict[str, Tensor]:
        found = self.head((self.embed(ids) * mask[..., None]).sum(1)) * scale
        return {"scores": found, "best": found.argmax(1)}


def without_onnxruntime() -> str | None:
    """Return why the JavaScript cannot run here."""
    if shutil.which("node") is None:
        return "Node.js is not installed (node)"
    place = os.environ.get(MODULES)
    if place is None or not Path(place, "onnxruntime-node").is_dir():
        return f"npm install onnxruntime-node, and set {MODULES} to its node_modules"
    return None


@pytest.mark.slow
@pytest.mark.skipif(without_onnxruntime() is not None, reason=str(without_onnxruntime()))
def test_it_runs_and_gives_the_answer_of_the_module(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = Net().eval()
    sample = (torch.ones(2, 4, dtype=torch.int64), torch.ones(2, 4, dtype=torch.bool), torch.ones(2, 1))
    artifact = lightning_onnx.export(module, sample, directory=tmp_path / "net", input_names=["ids", 'a"b', "scale"])
    assert main.main(["snippet", str(artifact.directory), "--language", "javascript"]) == 0
    assert capsys.readouterr().out == snippet(artifact.record) + "\n"
    contract = Contract(
        outputs={
            "scores": OutputContract(("cat", "d`o\u2028g"), "scores", 1, "softmax"),
            "best": OutputContract(("cat", "d`o\u2028g"), "indices"),
        },
        steps=(Step("Normalize()", "divide by\n255"),),
    )
    code = snippet(dataclasses.replace(artifact.record, contract=contract))
    expected = module(torch.zeros_like(sample[0]), torch.zeros_like(sample[1]), torch.full((2, 1), 0.5))
    code = code.replace("new Float32Array(2)", "Float32Array.from([0.5, 0.5])")
    code += (
        "\nconsole.log(JSON.stringify({scores: [...outputs.scores.data], best: [...outputs.best.data].map(Number)}));"
    )
    (artifact.directory / "load.mjs").write_text(code, encoding="utf-8")
    (artifact.directory / "node_modules").symlink_to(os.environ[MODULES])
    done = subprocess.run(["node", "load.mjs"], cwd=artifact.directory, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *printed, answer = done.stdout.split("\n")[:-1]
    labels = [("cat", "d`o\u2028g")[i] for i in expected["best"]]
    shares = expected["scores"].softmax(1).amax(1)
    assert printed[:2] == ["scores float32 [ 2, 2 ]", "best int64 [ 2 ]"]
    assert printed[2:4] == [f"{label}: {share:.1%}" for label, share in zip(labels, shares, strict=True)]
    assert "cat" in printed[4] or "d`o" in printed[4]
    found = json.loads(answer)
    assert found["best"] == expected["best"].tolist()
    np.testing.assert_allclose(found["scores"], expected["scores"].detach().numpy().ravel(), rtol=1e-5)


def test_class_names_are_declared_once_and_zeros_are_called_zeros(exported: ONNXArtifact) -> None:
    (spec,) = exported.signature.outputs
    names, others = ("cat", "dog"), ("day", "night")
    outputs = {"a": OutputContract(names, "scores", 1), "b": OutputContract(names, "indices"),
               "c": OutputContract(others, "scores", 1)}  # fmt: skip
    specs = tuple(dataclasses.replace(spec, name=name) for name in outputs)
    signature = Signature(exported.signature.inputs, specs)
    record = dataclasses.replace(exported.record, signature=signature, contract=Contract(outputs=outputs))
    lines = snippet(record).splitlines()
    assert [line for line in lines if "labels" in line] == [
        'const labels = ["cat", "dog"];',
        'const labels2 = ["day", "night"];',
        "  console.log(`${labels[best]}: ${(100 * probabilities[best]).toFixed(1)}%`);",
        'console.log(Array.from(outputs["b"].data.slice(0, 5), (index) => labels[Number(index)]));',
        "  console.log(`${labels2[best]}: ${(100 * probabilities[best]).toFixed(1)}%`);",
    ]
    assert lines.index("// zeros: replace with your data") == lines.index("const outputs = await session.run({") - 1
    python = snippet_python.snippet(record).splitlines()
    assert python.index("# zeros: replace with your data") == python.index("outputs = session.run(None, {") - 1


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium here: apt-get install chromium")
def test_the_pixels_of_a_canvas_become_the_input(tmp_path: Path) -> None:
    """The lines in docs/deploy.md, in a browser: a red and a half transparent blue pixel."""
    page = (Path(__file__).parents[2] / "docs" / "deploy.md").read_text(encoding="utf-8")
    (lines,) = re.findall(r"^```javascript\n(const \{ width.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (tmp_path / "page.html").write_text(
        f"""<body><script>
        const ort = {{ Tensor: class {{ constructor(...given) {{ this.given = given; }} }} }};
        const canvas = Object.assign(document.createElement("canvas"), {{ width: 2, height: 1 }});
        const drawing = canvas.getContext("2d");
        drawing.putImageData(new ImageData(Uint8ClampedArray.of(255, 0, 7, 255, 0, 0, 255, 128), 2, 1), 0, 0);
        {lines}
        const [type, data, shape] = image.given;
        document.body.innerText = JSON.stringify([type, data.constructor.name, [...data], shape]);
        </script></body>"""
    )
    dumped = browse("--dump-dom", (tmp_path / "page.html").as_uri(), directory=tmp_path)
    assert '["uint8","Uint8Array",[255,0,7,0,0,255],[1,1,2,3]]' in html.unescape(dumped)


def with_input(exported: ONNXArtifact, spec: TensorSpec) -> str:
    signature = Signature((spec,), exported.signature.outputs)
    return snippet(dataclasses.replace(exported.record, signature=signature))


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (TensorSpec("x", "int8", ("n", 4)), '  "x": new ort.Tensor("int8", new Int8Array(8), [2, 4]), // [n, 4]'),
        (TensorSpec("x", "int64", (3,)), '  "x": new ort.Tensor("int64", new BigInt64Array(3), [3]),'),
        (TensorSpec("x", "bool", ()), '  "x": new ort.Tensor("bool", new Uint8Array(1), []),'),
        (TensorSpec("x", "string", (2,)), '  "x": new ort.Tensor("string", new Array(2).fill(""), [2]),'),
        (TensorSpec('"\u2028\n', "uint8", (1,)), '  "\\"\\u2028\\n": new ort.Tensor("uint8", new Uint8Array(1), [1]),'),
    ],
)  # fmt: skip
def test_each_input_has_a_line(spec: TensorSpec, line: str, exported: ONNXArtifact) -> None:
    assert line in with_input(exported, spec).splitlines()


def test_a_dtype_without_a_type_in_javascript(exported: ONNXArtifact) -> None:
    with pytest.raises(
        ConfigurationError, match="input 'x' is bfloat16, which onnxruntime does not take in JavaScript"
    ):
        with_input(exported, TensorSpec("x", "bfloat16", (3,)))
