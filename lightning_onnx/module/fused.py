"""The exported method with preprocessing before it and postprocessing after it, as one method of a private copy.

It is a method of the module, and no module around it, so that weights, scopes and the state of calls keep their names.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any, Literal, cast

import torch
from torch import nn

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.calls.batch_parts import takes_batch
from lightning_onnx.module.calls.matching import as_call
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.sample import Sample, make_sample, method_signature

METHOD = "answer_to_raw_input"
PREPROCESS, POSTPROCESS = "preprocess_in_graph", "postprocess_in_graph"
"""Names of the attributes that hold the method and what is around it."""

_PLACEHOLDERS = (
    "torch.nn.modules.module._forward_unimplemented",
    "lightning.pytorch.core.module.LightningModule.forward",
    "pytorch_lightning.core.module.LightningModule.forward",
)
"""Methods that only say that a class has no ``forward``."""

Taken = Literal["all", "required", "tuple"]
"""What the method takes of a tuple: all its parts, as many as it requires (labels may follow), or the tuple itself."""

Part = nn.Module | Callable[..., Any] | str
"""A module, a function on tensors, or the name of a method of the module."""


@dataclasses.dataclass(frozen=True)
class Around:
    """What the graph does before and after the exported method.

    Attributes:
        method: Name of the exported method.
        preprocess: Makes the method's arguments of raw inputs; None: the graph takes the method's arguments.
        postprocess: Makes the graph's outputs of the method's result; None: the graph returns the result.
    """

    method: str
    preprocess: Part | None = None
    postprocess: Part | None = None

    @property
    def is_empty(self) -> bool:
        """Whether the graph is that of the method alone."""
        return self.preprocess is None and self.postprocess is None

    @property
    def traced_method(self) -> str:
        """The method that is traced."""
        return self.method if self.is_empty else METHOD

    @property
    def observed_method(self) -> str:
        """The method whose calls in training show the graph's inputs."""
        return self.preprocess if isinstance(self.preprocess, str) else self.method

    @property
    def takes_raw_sample(self) -> bool:
        """Whether no call in training shows the graph's inputs, so that a sample must be given."""
        return self.preprocess is not None and not isinstance(self.preprocess, str)

    def check_names(self, module: nn.Module) -> None:
        """Raise if an option names a method that the module does not have, ``forward`` included.

        Args:
            module: The module, or a copy.

        Raises:
            ConfigurationError: If that is so; it names the option.
        """
        for option in ("method", "preprocess", "postprocess"):
            part: object = getattr(self, option)
            if isinstance(part, str):
                method_signature(module, part, option)
                found: Any = getattr(module, part)
                if f"{getattr(found, '__module__', '')}.{getattr(found, '__qualname__', '')}" in _PLACEHOLDERS:
                    raise ConfigurationError(
                        f"{type(module).__name__} has no forward. Define one, or name the method to export, with its "
                        "inputs as parameters: method='...'."
                    )

    def attach(self, module: nn.Module) -> None:
        """Give a private copy the method to trace; does nothing if it has it, or if there is nothing around the method.

        Args:
            module: The private copy, with its weights.
        """
        if self.is_empty or METHOD in module.__dict__:
            return
        self.check_names(module)
        for name, part in ((PREPROCESS, self.preprocess), (POSTPROCESS, self.postprocess)):
            if part is not None and not isinstance(part, str):
                module.__dict__[name] = _own(part)  # no submodule: a Sequential would run it
        module.__dict__[METHOD] = MethodType(_fused(self, self.signature(module), self._takes(module)), module)

    def signature(self, module: nn.Module) -> inspect.Signature:
        """Return the signature of the method to trace.

        Args:
            module: The module, or a copy.
        """
        if self.preprocess is None:
            return method_signature(module, self.method)
        if isinstance(self.preprocess, str):
            return method_signature(module, self.preprocess)
        function = self.preprocess.forward if isinstance(self.preprocess, nn.Module) else self.preprocess
        raw = inspect.Parameter("input", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        try:
            found = inspect.signature(function)
        except (TypeError, ValueError):  # written in C
            return inspect.Signature([raw])
        kinds = {parameter.kind for parameter in found.parameters.values()}
        if inspect.Parameter.VAR_POSITIONAL in kinds:  # torchvision's transforms take anything
            return inspect.Signature([raw])
        return found

    def sample(self, module: nn.Module, call: tuple[tuple[Any, ...], dict[str, Any]]) -> Sample:
        """Return a raw sample as a call of the method to trace.

        Args:
            module: The module, or a copy.
            call: Arguments.

        Raises:
            ConfigurationError: If they do not fit.
        """
        signature = self.signature(module)
        try:
            return make_sample(signature, *call)
        except TypeError as error:
            taken = "preprocess" if self.preprocess is not None else f"{type(module).__name__}.{self.method}"
            raise ConfigurationError(
                f"the sample does not fit {taken}{signature}: {error}. Give the arguments of one call."
            ) from error

    def given(self, module: nn.Module, sample: object, observed: Sequence[Observation]) -> Observation:
        """Return the user's sample, with the shapes of similar observed calls; only these count, if there are any.

        Args:
            module: The module, or a copy.
            sample: The sample, as in ``example_input_array``.
            observed: Calls of the observed method.

        Raises:
            ConfigurationError: If the sample does not fit.
        """
        found = self.sample(module, as_call(sample))
        paths = found.structure.paths
        alike = [o for o in observed if not self.takes_raw_sample and o.samples[0].structure.paths == paths]
        given = Observation.of(found, "the given sample")
        return dataclasses.replace(
            given,
            is_given=True,
            shapes=(*given.shapes, *(shapes for o in alike for shapes in o.shapes)),
            counts=(0 if alike else 1, *(count for o in alike for _, count in o.counted())),
            origin=alike[0].origin if alike else "sample",
            ran_in_eval_mode=any(o.ran_in_eval_mode for o in observed),
        )

    def arguments(self, module: nn.Module, prepared: object) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what preprocessing returned as arguments of the exported method.

        Args:
            module: The module, or a copy.
            prepared: What preprocessing returned.
        """
        return arguments_of(prepared, method_signature(module, self.method), self._takes(module))

    def _takes(self, module: nn.Module) -> Taken:
        """Tell what the method takes of a tuple: all parts, as many as it requires, or the tuple."""
        if not isinstance(self.preprocess, str):
            return "all"
        return "tuple" if takes_batch(module, self.method) else "required"


def check_part(option: str, part: object) -> None:
    """Raise unless a value can stand before or after the exported method.

    Args:
        option: Name of the option, for the message.
        part: The value.

    Raises:
        ConfigurationError: If it is neither a module nor a function nor a name, or the method of a module.
    """
    owner = getattr(part, "__self__", None)
    if isinstance(owner, nn.Module):  # it would run with the weights and in the mode that the module has then
        name = getattr(part, "__name__", "forward")
        raise ConfigurationError(
            f"{option} is the method {name} of a {type(owner).__name__}. If that is the exported module, give the "
            f"name: {option}={name!r}. Otherwise give a module whose forward calls it."
        )
    is_name = isinstance(part, str) and part.isidentifier()
    if part is None or is_name or (callable(part) and not isinstance(part, type)):
        return
    made = f" Make one: {part.__name__}(...)." if isinstance(part, type) else ""
    raise ConfigurationError(
        f"{option}={part!r} is neither a module, a function on tensors, nor the name of a method.{made} Give one such "
        "as torch.nn.Softmax(1)."
    )


Step = nn.Module | Callable[..., Any]


def _own(part: Step) -> Step:
    """Return a copy in eval mode on CPU; a function is not copied, but an object and the modules that it holds are."""
    copies: dict[int, object] = {}
    with torch.inference_mode(False), torch.no_grad():
        own = copy.deepcopy(part, copies)
        for module in [copied for copied in copies.values() if isinstance(copied, nn.Module)]:
            module.cpu().eval().requires_grad_(False)
    return own


def _fused(around: Around, signature: inspect.Signature, taken: Taken) -> Callable[..., Any]:
    def answer_to_raw_input(self: Any, *args: Any, **kwargs: Any) -> Any:
        method = self if around.method == "forward" else getattr(self, around.method)
        if around.preprocess is None:
            result = method(*args, **kwargs)
        else:
            name = around.preprocess if isinstance(around.preprocess, str) else PREPROCESS
            prepared = getattr(self, name)(*args, **kwargs)
            given, named = arguments_of(prepared, method_signature(self, around.method), taken)
            result = method(*given, **named)
        if around.postprocess is None:
            return result
        return getattr(self, around.postprocess if isinstance(around.postprocess, str) else POSTPROCESS)(result)

    answer_to_raw_input.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY), *signature.parameters.values()]
    )
    names = (around.method, around.preprocess, around.postprocess)
    own = {name for name in names if isinstance(name, str)}
    answer_to_raw_input.called = frozenset({*own, PREPROCESS, POSTPROCESS})  # type: ignore[attr-defined]
    return answer_to_raw_input


def called_by(module: nn.Module, method: str) -> frozenset[str]:
    """Return the names of the methods and parts that a method of this file calls; empty for any other method."""
    made = module.__dict__.get(method)
    return cast("frozenset[str]", getattr(getattr(made, "__func__", None), "called", frozenset()))


def arguments_of(
    prepared: object, signature: inspect.Signature, taken: Taken = "all"
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what preprocessing returned as arguments of the method.

    A dict gives arguments by name; a tuple or list gives them in order; anything else is the only one.

    Args:
        prepared: What preprocessing returned.
        signature: The signature of the method.
        taken: What the method takes of a tuple or list.
    """
    parameters = list(signature.parameters.values())
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    if isinstance(prepared, Mapping):
        takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        named = {str(k): v for k, v in prepared.items() if takes_all or k in signature.parameters}
        if named and set(required) <= named.keys():
            return (), named
    if isinstance(prepared, (list, tuple)) and taken != "tuple":
        return tuple(prepared[: max(1, len(required))] if taken == "required" else prepared), {}
    return (prepared,), {}
