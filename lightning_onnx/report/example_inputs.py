"""What the code that runs a model on zeros says of an input, in any language: sizes, and the names of its dims."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning_onnx.module.calls.signature import TensorSpec


def example_sizes(spec: TensorSpec, traced: Mapping[str, Sequence[int]]) -> list[int]:
    """Return the traced sizes of an input; 2 for each dynamic dim if they are not known.

    Args:
        spec: The input.
        traced: Shapes of the traced call, by name of the input.
    """
    return list(traced.get(spec.name, [2 if isinstance(dim, str) else dim for dim in spec.shape]))


def dims_in_words(spec: TensorSpec) -> str:
    """Return the dims of an input for a comment, such as ``"[batch, 3]"``; empty if all are static.

    A name may hold any character; in a comment a line break would end it.
    """
    if not any(isinstance(dim, str) for dim in spec.shape):
        return ""
    return f"[{', '.join(ascii(dim)[1:-1] if isinstance(dim, str) else str(dim) for dim in spec.shape)}]"
