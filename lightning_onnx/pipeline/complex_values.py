"""Refuses complex inputs and outputs: ONNX has the type, but hardly an operator or a runtime takes it."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from lightning_onnx.errors import EngineError
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.runner import Runner


def check_real(run: Runner, request: Request, method: str) -> None:
    """Raise if an input or an output of the graph would be complex; complex values inside are translated.

    Args:
        run: Runs the module.
        request: The requested graph.
        method: Name of the method, for the message.

    Raises:
        EngineError: If one is complex; the message says how to pass real and imaginary parts.
    """
    name = f"{type(run.flat.module).__name__}.{method}"
    found = _complex(request.input_names, request.tensors)
    if found:
        raise EngineError(
            f"{name} takes complex inputs ({found}), and runtimes take only real ones. Pass real and imaginary parts: "
            "begin the method with torch.view_as_complex, or export with preprocess=torch.view_as_complex and "
            "sample=torch.view_as_real(...) of an input (of several inputs, a function that does so)."
        )
    outputs = run(request.tensors)
    found = _complex(request.output_names, outputs.tensors if outputs else ())
    if found:
        raise EngineError(
            f"{name} returns complex numbers ({found}), and runtimes return only real ones. Return real and imaginary "
            "parts: end the method with torch.view_as_real, or export with postprocess=torch.view_as_real (of several "
            "outputs, a function that does so)."
        )


def _complex(names: Iterable[str], tensors: Iterable[Tensor]) -> str:
    """Return the complex ones as text; empty if there are none."""
    found = ((name, tensor) for name, tensor in zip(names, tensors, strict=False) if tensor.is_complex())
    return ", ".join(f"{name}: {str(tensor.dtype).removeprefix('torch.')}" for name, tensor in found)
