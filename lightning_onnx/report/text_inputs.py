"""The lines of Python that make a model's inputs of text, with the tokenizer in the artifact."""

from __future__ import annotations

from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.module.calls.signature import TensorSpec

_FIELDS = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
"""What inputs of text models are called, and the field of an encoding that each takes."""


def tokenizer_of(manifest: Manifest) -> str | None:
    """Return the path of the tokenizer in the artifact that makes all inputs of the model; None if none does."""
    path = next((name for name in manifest.assets if name.endswith("tokenizer.json")), None)
    names = {spec.name for spec in manifest.signature.inputs}
    return path if "input_ids" in names and names <= _FIELDS.keys() else None


def tokenizing(manifest: Manifest) -> list[str]:
    """Return the lines that tokenize two texts into ``encoded``; empty if the artifact has no tokenizer for it."""
    path = tokenizer_of(manifest)
    if path is None:
        return [f"# beside the model: {ascii(name)[1:-1]}" for name in manifest.assets]
    sizes = next(spec.shape for spec in manifest.signature.inputs if spec.name == "input_ids")
    length = sizes[-1] if isinstance(sizes[-1], int) else None
    limit = length or _limit(manifest)
    return [
        "from tokenizers import Tokenizer",
        "",
        f"tokenizer = Tokenizer.from_file({path!r})",
        f"tokenizer.enable_padding({'' if length is None else f'length={length}'})",
        *([] if limit is None else [f"tokenizer.enable_truncation({limit})"]),
        'encoded = tokenizer.encode_batch(["a text", "another text"])',
    ]


def fed(spec: TensorSpec) -> str:
    """Return the line that feeds a tokenized input."""
    return f"{spec.name!r}: np.array([e.{_FIELDS[spec.name]} for e in encoded], np.{spec.dtype}),"


def _limit(manifest: Manifest) -> int | None:
    tokenizer = None if manifest.contract is None else manifest.contract.tokenizer
    return None if tokenizer is None else tokenizer.max_length
