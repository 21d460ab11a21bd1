"""The lines of JavaScript that load an artifact's model in Node.js or a browser."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.module.calls.signature import TensorSpec
from lightning_onnx.report.answers_javascript import answers, instructions
from lightning_onnx.report.example_inputs import dims_in_words, example_sizes

_ARRAYS = {
    "float32": "Float32Array", "float64": "Float64Array", "float16": "Uint16Array", "int8": "Int8Array",
    "int16": "Int16Array", "int32": "Int32Array", "int64": "BigInt64Array", "uint8": "Uint8Array",
    "uint16": "Uint16Array", "uint32": "Uint32Array", "uint64": "BigUint64Array", "bool": "Uint8Array",
}  # fmt: skip
"""The typed array that onnxruntime takes for each dtype; float16 as its bits."""


def snippet(manifest: Manifest) -> str:
    """Return an ES module that runs the model on zeros, with dynamic dims at their traced sizes.

    It is meant to run in the artifact's directory, with the package onnxruntime-node, or onnxruntime-web in a browser.

    Args:
        manifest: The artifact's manifest.

    Raises:
        ConfigurationError: If onnxruntime has no JavaScript type for the dtype of an input.
    """
    traced = manifest.source.traced_shapes
    feeds = [f"  {_feed(spec, traced)}" for spec in manifest.signature.inputs]
    lines = [
        '// npm install onnxruntime-node; in a browser: import * as ort from "onnxruntime-web"',
        'import * as ort from "onnxruntime-node";',
        "",
        *instructions(manifest),
        f"const session = await ort.InferenceSession.create({_text(f'./{manifest.model.file}')});",
        "// zeros: replace with your data",
        "const outputs = await session.run({",
        *feeds,
        "});",
        "for (const [name, tensor] of Object.entries(outputs)) {",
        "  console.log(name, tensor.type, tensor.dims);",
        "}",
        *answers(manifest),
    ]
    return "\n".join(lines)


def _feed(spec: TensorSpec, traced: Mapping[str, Sequence[int]]) -> str:
    sizes = example_sizes(spec, traced)
    count = math.prod(sizes)
    if spec.dtype == "string":
        data = f'new Array({count}).fill("")'
    elif spec.dtype in _ARRAYS:
        data = f"new {_ARRAYS[spec.dtype]}({count})"
    else:
        raise ConfigurationError(
            f"input {spec.name!r} is {spec.dtype}, which onnxruntime does not take in JavaScript. Use Python, or "
            "export float32."
        )
    dims = dims_in_words(spec)
    return f"{_text(spec.name)}: new ort.Tensor({_text(spec.dtype)}, {data}, {sizes}),{f' // {dims}' if dims else ''}"


def _text(value: str) -> str:
    """Return a string literal; characters that end a line in JavaScript are escaped."""
    return json.dumps(value)
