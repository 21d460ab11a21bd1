"""The lines of Python that load an artifact's model in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.module.calls.signature import TensorSpec
from lightning_onnx.report.answers import answers, intake
from lightning_onnx.report.text_inputs import fed, tokenizer_of, tokenizing


def snippet(manifest: Manifest) -> str:
    """Return Python that runs the model on zeros, with dynamic dims at their traced sizes, or on tokenized texts.

    It is meant to run in the artifact's directory.

    Args:
        manifest: The artifact's manifest.
    """
    signature, traced = manifest.signature, manifest.source.traced_shapes
    is_text = tokenizer_of(manifest) is not None
    made = [fed(spec) if is_text else _feed(spec, traced.get(spec.name)) for spec in signature.inputs]
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


def _feed(spec: TensorSpec, traced: Sequence[int] | None) -> str:
    sizes = traced if traced is not None else [2 if isinstance(dim, str) else dim for dim in spec.shape]
    module = "ml_dtypes." if _is_extra(spec.dtype) else "" if spec.dtype == "bool" else "np."
    made = f"np.zeros({tuple(sizes)}, {module}{spec.dtype})"
    if spec.dtype == "string":
        made = f"np.full({tuple(sizes)}, '', object)"
    # A name may hold any character; in a comment a line break would end it.
    names = ", ".join(ascii(dim)[1:-1] if isinstance(dim, str) else str(dim) for dim in spec.shape)
    comment = f"  # [{names}]" if any(isinstance(dim, str) for dim in spec.shape) else ""
    return f"{spec.name!r}: {made},{comment}"


def _is_extra(dtype: str) -> bool:
    """Tell whether numpy has the dtype only with ml_dtypes."""
    return dtype.startswith(("bfloat16", "float8", "float4", "int4", "uint4", "int2", "uint2"))
