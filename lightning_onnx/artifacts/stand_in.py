"""Replacements for the exported method of a module: one records the calls, the other runs the file."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import override

from lightning_onnx.artifacts.running import inputs_of, result_of
from lightning_onnx.errors import InputError, SampleError
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.module.arrays import feeds, to_numpy, to_tensor
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
        is_foreign: Whether the module may be another one than was exported, so that sizes are compared.
    """

    def __init__(self, module: nn.Module, call: ExportedCall, session: Session, *, is_foreign: bool = False) -> None:
        super().__init__(module, call)
        self.calls = 0
        self.unanswered: set[str] = set()
        self.is_finite = True
        self._session = session
        self._is_foreign = is_foreign

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
            if self._is_foreign:
                self._check_sizes(path, own)
            answer = to_tensor(answers[path]).to(own.device)
            self.is_finite &= bool(torch.isfinite(answer).all())
            return answer
        self.unanswered.add(".".join(path) or "output")
        return torch.full_like(own, torch.nan) if own.is_floating_point() else own

    def _check_sizes(self, path: TensorPath, own: Tensor) -> None:
        """Raise if the file's output has a static size that the module's lacks: the file was made from another one."""
        spec = self.call.signature.outputs[self.call.outputs.index(path)]
        if len(spec.shape) != own.dim():  # as of one row, of which the module leaves out the batch
            return
        if all(isinstance(size, str) or size == has for size, has in zip(spec.shape, own.shape, strict=True)):
            return
        raise InputError(
            f"the module returns {spec.name} with the shape {list(own.shape)}, but the file returns {spec}. Give a "
            "module with the sizes of the exported one, and a batch of the sizes that the file takes."
        )


class RawAnswers:
    """Replaces the exported method: takes raw inputs and returns what a file with preprocessing or postprocessing does.

    The result consists of tensors in dicts and lists.

    Args:
        manifest: The artifact's manifest.
        run: Runs the file on arrays by name.
    """

    def __init__(self, manifest: Manifest, run: Callable[[Arrays], Arrays]) -> None:
        self._manifest = manifest
        self._run = run

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the file's answer to raw inputs: arguments of the raw call, or only its tensors in their order.

        Raises:
            InputError: If the file does not take them.
        """
        tensors = flatten_result((args, kwargs))[1]
        names = [spec.name for spec in self._manifest.signature.inputs]
        try:
            inputs = inputs_of(self._manifest, args, kwargs)
        except InputError:
            if kwargs or len(tensors) != len(names):  # not parts of a batch, as predict_step gives them
                raise
            inputs = {name: to_numpy(tensor) for name, tensor in zip(names, tensors, strict=True)}
        try:
            outputs = self._run(inputs)
        except InputError as error:
            raise InputError(
                f"{error} The graph has preprocessing or postprocessing of its own: give it raw inputs, as in "
                "trainer.predict; the loops of fit, validate and test prepare them."
            ) from error
        device = tensors[0].device if tensors else torch.device("cpu")
        return _as_tensors(result_of(self._manifest, outputs), device)


def _as_tensors(value: Any, device: torch.device) -> Any:
    if isinstance(value, dict):
        return {key: _as_tensors(inner, device) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_tensors(inner, device) for inner in value]
    return to_tensor(value).to(device)


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
    return _replaced(module, stand_in.call.method, stand_in)


def _replaced(module: Any, method: str, stand_in: Callable[..., Any]) -> Any:
    def answer(*args: Any, **kwargs: Any) -> Any:  # trainer.predict reads the code of forward, which an object has not
        return stand_in(*args, **kwargs)

    module.__dict__[method] = answer
    if method == "forward":
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
    return module


def _audible_copy(module: nn.Module) -> nn.Module:
    """Return a copy that logs, for a Trainer of its own; but for one that trains."""
    copied = copying.private_copy(module)
    wrappers.unsilence(copied)
    if hasattr(copied, "training_step"):
        copied.__dict__["training_step"] = _refuse_to_train
    return copied


def _refuse_to_train(*args: Any, **kwargs: Any) -> NoReturn:
    raise InputError(
        "as_module() returns a module that a file answers for, and a file cannot be trained. Fit the module itself; "
        "trainer.validate, test and predict take this one."
    )


def answered_by(module: nn.Module, answers: Iterable[tuple[ExportedCall, Session]]) -> nn.Module:
    """Return a copy of a module whose exported methods run files, and return the module's own classes.

    Args:
        module: The module; it is not changed.
        answers: How each exported method is called, and its loaded file.

    Raises:
        InputError: If it lacks one of the methods.
    """
    copied = _audible_copy(module)
    for call, session in answers:
        if not callable(getattr(copied, call.method, None)):
            raise InputError(
                f"{type(module).__name__} has no method {call.method!r}, for which the file answers. Give a module of "
                "the exported class."
            )
        stand_in_for(copied, FileAnswers(copied, call, session, is_foreign=True))
    return copied


def answered_raw(module: nn.Module, manifest: Manifest, run: Callable[[Arrays], Arrays]) -> nn.Module:
    """Return a copy of a module whose exported method runs a file with preprocessing or postprocessing.

    A method of the module that is the file's preprocessing returns what it gets.

    Args:
        module: The module; it is not changed.
        manifest: The artifact's manifest.
        run: Runs the file on arrays by name.
    """
    copied = _audible_copy(module)
    step = manifest.fused.preprocess if manifest.fused is not None else None
    if step is not None and callable(getattr(copied, step, None)):
        copied.__dict__[step] = lambda batch, *args, **kwargs: batch
    stand_in: nn.Module = _replaced(copied, manifest.source.method, RawAnswers(manifest, run))
    return stand_in
