"""The lines of Python that load an artifact's model in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.module.calls.signature import TensorSpec
from lightning_onnx.report.answers import answers, intake
from lightning_onnx.report.example_inputs import dims_in_words, example_sizes
from lightning_onnx.report.text_inputs import fed, tokenizer_of, tokenizing


def snippet(manifest: Manifest) -> str:
    """Return Python that runs the model on zeros, with dynamic dims at their traced sizes, or on tokenized texts.

    It is meant to run in the artifact's directory.

    Args:
        manifest: The artifact's manifest.
    """
    signature, traced = manifest.signature, manifest.source.traced_shapes
    is_text = tokenizer_of(manifest) is not None
    made = [fed(spec) if is_text else _feed(spec, traced) for spec in signature.inputs]
    feeds = "".join(f"    {line}\n" for line in made)
    lines = [
        "import numpy as np",
        *(["import ml_dtypes"] if any(_is_extra(spec.dtype) for spec in signature.inputs) else []),
        "import onnxruntime",
        "",
        *tokenizing(manifest),
        *intake(manifest),
        f"session = onnxruntime.InferenceSession({manifest.model.file!r})",
        *([] if is_text else ["# zeros: replace with your data"]),
        f"outputs = session.run(None, {{\n{feeds}}})",
        f"for name, array in zip({[spec.name for spec in signature.outputs]!r}, outputs):",
        "    print(name, array.dtype, array.shape)",
        *answers(manifest),
    ]
    return "\n".join(lines)


def _feed(spec: TensorSpec, traced: Mapping[str, Sequence[int]]) -> str:
    module = "ml_dtypes." if _is_extra(spec.dtype) else "" if spec.dtype == "bool" else "np."
    sizes = tuple(example_sizes(spec, traced))
    made = f"np.zeros({sizes}, {module}{spec.dtype})"
    if spec.dtype == "string":
        made = f"np.full({sizes}, '', object)"
    dims = dims_in_words(spec)
    return f"{spec.name!r}: {made},{f'  # {dims}' if dims else ''}"


def _is_extra(dtype: str) -> bool:
    """Tell whether numpy has the dtype only with ml_dtypes."""
    return dtype.startswith(("bfloat16", "float8", "float4", "int4", "uint4", "int2", "uint2"))
