"""The lines of Python that print the class names and probabilities of a model's outputs."""

from __future__ import annotations

from collections.abc import Iterator

from lightning_onnx.manifest.contract import Contract, OutputContract
from lightning_onnx.manifest.manifest import Manifest


def intake(manifest: Manifest) -> list[str]:
    """Return comments that say what the caller has to do before the model runs; empty if nothing is known."""
    steps = () if manifest.contract is None else manifest.contract.caller_steps
    return [f"# before the model: {_comment(step)}" for step in steps]


def answers(manifest: Manifest) -> list[str]:
    """Return the lines that follow a run of the model; ``outputs`` is the list of its outputs.

    Args:
        manifest: The artifact's manifest.
    """
    return [] if manifest.contract is None else list(_lines(manifest, manifest.contract))


def _lines(manifest: Manifest, contract: Contract) -> Iterator[str]:
    if not contract.outputs:
        return
    yield ""
    yield f"labels = {list(contract.labels)!r}"
    names = [spec.name for spec in manifest.signature.outputs]
    for name, output in contract.outputs.items():
        if name in names:
            yield from _of_output(f"outputs[{names.index(name)}]", output)


def _of_output(value: str, output: OutputContract) -> Iterator[str]:
    if output.kind == "indices" or output.axis is None:
        yield f"print([labels[i] for i in {value}.reshape(-1)[:5]])"
        return
    axis = output.axis
    if output.activation == "softmax":
        yield f"scores = np.exp({value} - {value}.max({axis}, keepdims=True))"
        yield f"probabilities = scores / scores.sum({axis}, keepdims=True)"
    elif output.activation == "sigmoid":
        yield f"probabilities = 1 / (1 + np.exp(-{value}))  # each class on its own"
    else:
        yield f"probabilities = {value}"
    yield f"rows = np.moveaxis(probabilities, {axis}, -1).reshape(-1, len(labels))"
    yield "for row in rows[:5]:"
    yield "    best = row.argmax()"
    yield '    print(f"{labels[best]}: {row[best]:.1%}")'


def _comment(text: str) -> str:
    """Return text for a comment, which a line break would end."""
    return ascii(text)[1:-1] if not text.isprintable() else text
