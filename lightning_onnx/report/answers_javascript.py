"""The lines of JavaScript that print the class names and probabilities of a model's outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator

from lightning_onnx.manifest.contract import OutputContract
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.module.calls.signature import TensorSpec
from lightning_onnx.report.answers import intake

_PROBABILITIES = {
    "softmax": (
        "const highest = Math.max(...values);",
        "const scores = values.map((value) => Math.exp(value - highest));",
        "const sum = scores.reduce((a, b) => a + b);",
        "const probabilities = scores.map((score) => score / sum);",
    ),
    "sigmoid": ("const probabilities = values.map((value) => 1 / (1 + Math.exp(-value))); // each class on its own",),
    None: ("const probabilities = values;",),
}


def instructions(manifest: Manifest) -> list[str]:
    """Return comments that say what the caller has to do before the model runs; empty if nothing is known."""
    return [f"//{line.removeprefix('#')}" for line in intake(manifest)]


def answers(manifest: Manifest) -> Iterator[str]:
    """Yield the lines that follow a run of the model; ``outputs`` has its outputs by name.

    Outputs whose classes are not the last dim, and those of float16, which JavaScript may have as bits, are left out.

    Args:
        manifest: The artifact's manifest.
    """
    contract = manifest.contract
    specs = {spec.name: spec for spec in manifest.signature.outputs}
    found = {} if contract is None else {name: own for name, own in contract.outputs.items() if name in specs}
    shown = {n: o for n, o in found.items() if o.kind == "indices" or _classes_are_last(specs[n], o)}
    labels: dict[tuple[str, ...], str] = {}
    for output in shown.values():
        labels.setdefault(output.labels, f"labels{len(labels) + 1 if labels else ''}")
    for own, variable in labels.items():
        yield f"const {variable} = {json.dumps(own)};"
    for name, output in shown.items():
        variable = labels[output.labels]
        if output.kind == "indices":
            first = f"outputs[{json.dumps(name)}].data.slice(0, 5)"
            yield f"console.log(Array.from({first}, (index) => {variable}[Number(index)]));"
        else:
            yield from _rows(name, output, variable)


def _classes_are_last(spec: TensorSpec, output: OutputContract) -> bool:
    return output.axis in (-1, len(spec.shape) - 1) and spec.dtype in ("float32", "float64")


def _rows(name: str, output: OutputContract, labels: str) -> Iterator[str]:
    count = len(output.labels)
    yield f"for (let i = 0; i < Math.min(outputs[{json.dumps(name)}].data.length, {5 * count}); i += {count}) {{"
    yield f"  const values = Array.from(outputs[{json.dumps(name)}].data.slice(i, i + {count}));"
    yield from (f"  {line}" for line in _PROBABILITIES[output.activation])
    yield "  const best = probabilities.indexOf(Math.max(...probabilities));"
    yield "  console.log(`${" + labels + "[best]}: ${(100 * probabilities[best]).toFixed(1)}%`);"
    yield "}"
