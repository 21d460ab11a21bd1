"""Replacements for the exported method of a module: one records the calls, the other runs the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from lightning_onnx.errors import SampleError
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.module.arrays import feeds, to_tensor
from lightning_onnx.module.calls.nested import TensorPath, flatten_result
from lightning_onnx.module.calls.sample import make_sample, method_signature
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.module.weights import copying, wrappers
from lightning_onnx.runtimes.base import Arrays, Session


@dataclasses.dataclass(frozen=True)
class ExportedCall:
    """How the exported method is called: the paths of the graph's tensors in its arguments and its result.

    Attributes:
        method: Name of the method.
        signature: The graph's inputs and outputs.
        inputs: The path of each input in the arguments.
        outputs: The path of each output in the result.
    """

    method: str
    signature: Signature
    inputs: tuple[TensorPath, ...]
    outputs: tuple[TensorPath, ...]

    @classmethod
    def of(cls, manifest: Manifest) -> ExportedCall:
        """Read it from an artifact's manifest."""
        source = manifest.source
        inputs, outputs = tuple(source.input_paths.values()), tuple(source.output_paths.values())
        return cls(source.method, manifest.signature, inputs, outputs)


class MethodRecorder:
    """Replaces the exported method: records the graph's inputs, and calls the original method.

    Attributes:
        feeds: The graph's inputs at each call.

    Args:
        module: A copy of the module.
        call: How its exported method is called.
    """

    def __init__(self, module: nn.Module, call: ExportedCall) -> None:
        self.feeds: list[Arrays] = []
        self.call = call
        self._original: Callable[..., Any] = getattr(module, call.method)
        self._method_parameters = method_signature(module, call.method)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Record the call, and return the method's result."""
        self.feeds.append(self.feed(args, kwargs))
        return self._original(*args, **kwargs)

    def feed(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arrays:
        """Return the graph's inputs for a call.

        Raises:
            SampleError: If the call lacks an input of the graph.
        """
        sample = make_sample(self._method_parameters, args, kwargs)
        return feeds_of(self.call, dict(zip(sample.paths, sample.tensors, strict=True)))


class FileAnswers(MethodRecorder):
    """Replaces the exported method: returns the outputs of a file. Floats that the file does not return are NaN.

    Attributes:
        calls: How often the method was called.
        unanswered: Paths in the method's result that the graph does not return.
        is_finite: Whether all outputs of the file were finite.

    Args:
        module: A copy of the module.
        call: How its exported method is called.
        session: The loaded file.
    """

    def __init__(self, module: nn.Module, call: ExportedCall, session: Session) -> None:
        super().__init__(module, call)
        self.calls = 0
        self.unanswered: set[str] = set()
        self.is_finite = True
        self._session = session

    @override
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the method's result with the file's outputs in place of its tensors."""
        feed = self.feed(args, kwargs)
        self.calls += 1
        answers = dict(zip(self.call.outputs, self._session.run(feed).values(), strict=True))
        structure, own = flatten_result(self._original(*args, **kwargs))  # for its classes and flags
        return structure.fill([self._answer(p, t, answers) for p, t in zip(structure.paths, own, strict=True)])

    def _answer(self, path: TensorPath, own: Tensor, answers: Mapping[TensorPath, NDArray[np.generic]]) -> Tensor:
        if path in answers:
            answer = to_tensor(answers[path]).to(own.device)
            self.is_finite &= bool(torch.isfinite(answer).all())
            return answer
        self.unanswered.add(".".join(path) or "output")
        return torch.full_like(own, torch.nan) if own.is_floating_point() else own


def feeds_of(call: ExportedCall, tensors: Mapping[TensorPath, Tensor]) -> Arrays:
    """Return the graph's inputs by name.

    Args:
        call: How the method is called.
        tensors: The call's tensors by path.

    Raises:
        SampleError: If the call lacks one of them.
    """
    missing = [".".join(path) for path in call.inputs if path not in tensors]
    if missing:
        raise SampleError(
            f"{call.method} is called without {', '.join(missing)}, which the graph needs; the call has "
            f"{', '.join('.'.join(path) for path in tensors)}"
        )
    return feeds(call.signature.inputs, [tensors[path] for path in call.inputs])


def stand_in_for(module: Any, stand_in: MethodRecorder) -> Any:
    """Replace the exported method of a copy, with the hooks of ``forward``, whose effects are in the graph.

    Args:
        module: The copy, which is changed.
        stand_in: What answers calls of the method.
    """
    module.__dict__[stand_in.call.method] = stand_in
    if stand_in.call.method == "forward":
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
    return module


def answered_by(module: nn.Module, answers: Iterable[tuple[ExportedCall, Session]]) -> nn.Module:
    """Return a copy of a module whose exported methods run files, and return the module's own classes.

    Args:
        module: The module; it is not changed.
        answers: How each exported method is called, and its loaded file.
    """
    copied = copying.private_copy(module)
    wrappers.unsilence(copied)
    for call, session in answers:
        stand_in_for(copied, FileAnswers(copied, call, session))
    return copied
