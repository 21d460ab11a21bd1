"""The arguments of one call of the exported method, with the tensors separated from the rest."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx.errors import ConfigurationError, did_you_mean
from lightning_onnx.module.calls.nested import Slot, Structure, TensorPath, flatten, rebuild


@dataclasses.dataclass(frozen=True)
class Sample:
    """The arguments of one call.

    Attributes:
        signature: The signature of the method.
        structure: The bound arguments by parameter name, without their tensors.
        tensors: The tensors in flat order, on the CPU and detached.
        batch_paths: For tensors of a ``*args`` parameter, which has no names for them: their path in the arguments, and
            their path in the batch of that step.
    """

    signature: inspect.Signature
    structure: Structure
    tensors: tuple[Tensor, ...]
    batch_paths: tuple[tuple[TensorPath, TensorPath], ...] = ()

    @property
    def paths(self) -> tuple[TensorPath, ...]:
        """The path of each tensor.

        Keyword arguments of a ``**kwargs`` parameter have their own name, and positional ones of a ``*args`` parameter
        that of the batch's entry.
        """
        entries = dict(self.batch_paths)
        return tuple(entries.get(path) or shown(path, self.signature) for path in self.structure.paths)

    @property
    def others(self) -> tuple[tuple[TensorPath, object], ...]:
        """The path and value of each argument that is not a tensor."""
        return tuple((shown(path, self.signature), value) for path, value in self.structure.others)

    def arguments(self, tensors: Iterable[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return ``args, kwargs`` of the call with ``tensors`` in place of the original ones."""
        filled = self.structure.fill(tuple(tensors))
        bound = inspect.BoundArguments(self.signature, filled)
        return bound.args, bound.kwargs

    def with_constants(self, places: Collection[int]) -> Sample:
        """Return the same call with the tensors at ``places`` (indices in flat order) as constants."""
        kept = [i for i in range(len(self.tensors)) if i not in places]

        def leaf(path: TensorPath, value: object) -> object:
            if not isinstance(value, Slot):
                return value
            return Slot(kept.index(value.index)) if value.index in kept else self.tensors[value.index]

        skeleton = rebuild(self.structure.skeleton, leaf)
        structure = Structure(skeleton, tuple(self.structure.paths[i] for i in kept), self.structure.others)
        return dataclasses.replace(self, structure=structure, tensors=tuple(self.tensors[i] for i in kept))

    def without(self, excluded: Callable[[TensorPath], bool]) -> Sample:
        """Return the same call without the keyword arguments and keys whose path is excluded."""
        value = _drop(self.structure.fill(self.tensors), (), lambda path: excluded(shown(path, self.signature)))
        for name, parameter in self.signature.parameters.items():
            if name in value and parameter.default is not parameter.empty and excluded((name,)):
                value[name] = parameter.default
        structure, tensors = _split(value)
        return dataclasses.replace(self, structure=structure, tensors=tensors)


def make_sample(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sample:
    """Bind a call to the method's signature and copy its tensors.

    Raises:
        TypeError: If the arguments do not fit the signature.
    """
    return Sample(signature, *_split(dict(signature.bind(*args, **kwargs).arguments)))


def _split(arguments: dict[str, Any]) -> tuple[Structure, tuple[Tensor, ...]]:
    structure, tensors = flatten(arguments)
    return structure, tuple(cpu_copy(t) for t in tensors)


def cpu_copy(tensor: Tensor) -> Tensor:
    """Copy a tensor to the CPU, detached; an inference tensor becomes a normal one."""
    with torch.inference_mode(False):
        copied = tensor.detach().to("cpu", copy=True)
        return copied.contiguous() if copied.layout is torch.strided else copied


def method_signature(module: nn.Module, method: str, option: str = "method") -> inspect.Signature:
    """Return the signature of the method; for a scripted module, the one in its schema.

    Args:
        module: The module.
        method: Name of the method.
        option: The option that names it, for the message.

    Raises:
        ConfigurationError: If the module has no such method.
    """
    bound = getattr(module, method, None)
    if not callable(bound):
        nearest = did_you_mean(method, [name for name in dir(type(module)) if not name.startswith("_")])
        raise ConfigurationError(
            f"{option}={method!r}: {type(module).__name__} has no such method{nearest} Name one that it has."
        )
    schema = getattr(bound, "schema", None)
    if schema is None:
        return inspect.signature(bound)
    empty = inspect.Parameter.empty
    return inspect.Signature(
        [
            inspect.Parameter(
                a.name,
                inspect.Parameter.POSITIONAL_OR_KEYWORD,
                default=a.default_value if a.has_default_value() else empty,
            )
            for a in schema.arguments
            if a.name != "self"
        ]
    )


def shown(path: TensorPath, signature: inspect.Signature) -> TensorPath:
    """Return a path without the name of the ``**kwargs`` parameter."""
    parameter = signature.parameters.get(path[0])
    return path[1:] if parameter is not None and parameter.kind is parameter.VAR_KEYWORD and len(path) > 1 else path


def _drop(value: object, path: TensorPath, excluded: Callable[[TensorPath], bool]) -> Any:
    """Remove dictionary keys below the parameters whose path is excluded."""
    if not isinstance(value, dict):
        return value
    kept = {k: v for k, v in value.items() if not path or not excluded((*path, str(k)))}
    return {k: _drop(v, (*path, str(k)), excluded) for k, v in kept.items()}
