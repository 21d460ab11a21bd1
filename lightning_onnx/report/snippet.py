"""The lines that load an artifact's model in onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def snippet(manifest: Mapping[str, Any]) -> str:
    """Return Python that runs the model on zeros, in the artifact's directory; dynamic dims at the traced sizes.

    Args:
        manifest: The artifact's manifest.
    """
    traced = manifest["source"].get("traced_shapes", {})
    feeds = "".join(f"    {_feed(value, traced.get(value['name']))}\n" for value in manifest["inputs"])
    lines = [
        "import numpy as np",
        *(["import ml_dtypes"] if any(_is_extra(v["dtype"]) for v in manifest["inputs"]) else []),
        "import onnxruntime",
        "",
        f"session = onnxruntime.InferenceSession({manifest['model']['file']!r})",
        f"outputs = session.run(None, {{\n{feeds}}})",
        f"for name, array in zip({[v['name'] for v in manifest['outputs']]!r}, outputs):",
        "    print(name, array.dtype, array.shape)",
    ]
    return "\n".join(lines)


def _feed(value: Mapping[str, Any], traced: Sequence[int] | None) -> str:
    shape, dtype = value["shape"], value["dtype"]
    sizes = traced if traced is not None else [2 if isinstance(dim, str) else dim for dim in shape]
    module = "ml_dtypes." if _is_extra(dtype) else "" if dtype == "bool" else "np."
    made = f"np.zeros({tuple(sizes)}, {module}{dtype})"
    if dtype == "string":
        made = f"np.full({tuple(sizes)}, '', object)"
    # A name may hold any character; in a comment a line break would end it.
    names = ", ".join(ascii(dim)[1:-1] if isinstance(dim, str) else str(dim) for dim in shape)
    comment = f"  # [{names}]" if any(isinstance(dim, str) for dim in shape) else ""
    return f"{value['name']!r}: {made},{comment}"


def _is_extra(dtype: str) -> bool:
    return dtype.startswith(("bfloat16", "float8", "float4", "int4", "uint4", "int2", "uint2"))
