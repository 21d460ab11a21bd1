"""What the exported method really got: records the calls of training and validation.

The bound method on the instance is replaced for the time of the run (a forward pre-hook would also see Lightning's own
redirections under DDP, and miss ``module.forward(x)``). Recording keeps the shapes of all calls and the tensors of few.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx.errors import ConfigurationError
from lightning_onnx.module.calls.nested import Slot, Structure, TensorPath, flatten, rebuild

Shapes = tuple[tuple[int, ...], ...]

KEPT_CALLS = 3
"""Calls whose tensors are kept, per structure: enough to see that a module works at several real sizes."""

_KEPT_STRUCTURES = 16
_KEPT_BATCHES = 6


@dataclasses.dataclass(frozen=True)
class Sample:
    """The arguments of one call.

    Attributes:
        signature: The signature of the method.
        structure: The bound arguments by parameter name, without their tensors.
        tensors: The tensors in flat order, on the CPU and detached.
    """

    signature: inspect.Signature
    structure: Structure
    tensors: tuple[Tensor, ...]

    @property
    def paths(self) -> tuple[TensorPath, ...]:
        """Where each tensor stands, keyword arguments of a ``**kwargs`` parameter under their own name."""
        return tuple(_public(path, self.signature) for path in self.structure.paths)

    def arguments(self, tensors: Iterable[Tensor]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return ``args, kwargs`` of the call with ``tensors`` in place of its own."""
        filled = self.structure.fill(tuple(tensors))
        bound = inspect.BoundArguments(self.signature, filled)
        return bound.args, bound.kwargs

    def with_constants(self, places: Collection[int]) -> Sample:
        """Return the same call with the tensors at ``places`` as constants instead of arguments."""
        kept = [i for i in range(len(self.tensors)) if i not in places]

        def leaf(path: TensorPath, value: Any) -> Any:
            if not isinstance(value, Slot):
                return value
            return Slot(kept.index(value.index)) if value.index in kept else self.tensors[value.index]

        skeleton = rebuild(self.structure.skeleton, leaf)
        structure = Structure(skeleton, tuple(self.structure.paths[i] for i in kept))
        return dataclasses.replace(self, structure=structure, tensors=tuple(self.tensors[i] for i in kept))

    def without(self, excluded: Callable[[TensorPath], bool]) -> Sample:
        """Return the same call without the keyword arguments and keys whose path is excluded."""
        value = _drop(self.structure.fill(self.tensors), (), lambda path: excluded(_public(path, self.signature)))
        for name, parameter in self.signature.parameters.items():
            if name in value and parameter.default is not parameter.empty and excluded((name,)):
                value[name] = parameter.default
        return dataclasses.replace(self, **_parts(value))


@dataclasses.dataclass(frozen=True)
class Observation:
    """One way in which the method is called.

    Attributes:
        samples: Calls with their tensors; the first one is what the graph is traced with.
        shapes: The tensors' shapes of every call seen, with the loader's batch size at that time where known.
        source: Where the calls come from, for messages and the manifest.
        notes: What a user should know about them.
    """

    samples: tuple[Sample, ...]
    shapes: tuple[tuple[Shapes, int | None], ...]
    source: str
    notes: tuple[str, ...] = ()

    def with_constants(self, places: Collection[int]) -> Observation:
        """Return the same calls with the tensors at ``places`` as constants."""
        samples = tuple(s.with_constants(places) for s in self.samples)
        shapes = tuple((tuple(s for i, s in enumerate(all_) if i not in places), size) for all_, size in self.shapes)
        return dataclasses.replace(self, samples=samples, shapes=shapes)

    @classmethod
    def of(cls, sample: Sample, source: str, batch_size: int | None = None) -> Observation:
        """Make an observation of a single call."""
        return cls((sample,), ((tuple(tuple(t.shape) for t in sample.tensors), batch_size),), source)


def make_sample(signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sample:
    """Bind a call to the method's signature and copy its tensors.

    Raises:
        TypeError: If the arguments do not fit the signature.
    """
    return Sample(signature, **_parts(dict(signature.bind(*args, **kwargs).arguments)))


def _parts(value: dict[str, Any]) -> dict[str, Any]:
    structure, tensors = flatten(value)
    return {"structure": structure, "tensors": tuple(keep(t) for t in tensors)}


def keep(tensor: Tensor) -> Tensor:
    """Copy a tensor to the CPU; a tensor of inference mode becomes an ordinary one."""
    with torch.inference_mode(False):
        copied = tensor.detach().to("cpu", copy=True)
        return copied.contiguous() if copied.layout is torch.strided else copied


def method_signature(module: nn.Module, method: str) -> inspect.Signature:
    """Return the signature of the method; of a scripted module, that of its schema.

    Raises:
        ConfigurationError: If the module has no such method.
    """
    bound = getattr(module, method, None)
    if not callable(bound):
        raise ConfigurationError(
            f"method={method!r}: {type(module).__name__} has no such method. Name one that it has."
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


class ForwardObserver:
    """Records the calls of one method of a module between ``attach`` and ``detach``.

    Raises:
        ConfigurationError: If the module has no such method.

    Example:
        >>> observer = ForwardObserver(nn.Linear(4, 2).eval(), "forward")
        >>> observer.attach()
        >>> _ = observer.module(torch.zeros(3, 4))
        >>> observer.detach()
        >>> observer.observations()[0].shapes
        ((((3, 4),), None),)
    """

    def __init__(self, module: nn.Module, method: str = "forward") -> None:
        self.module = module
        self.method = method
        self.signature = method_signature(module, method)
        self.batch_size: int | None = None
        self.calls: dict[Any, _Calls] = {}
        self.batches: list[tuple[Any, int | None]] = []
        self.problem: Exception | None = None

    def attach(self) -> None:
        """Start recording. A compiled module is left alone: recording would make it compile anew."""
        if is_compiled(self.module) or isinstance(self.module, torch.jit.ScriptModule):
            return
        present: Any = self.module.__dict__.get(self.method)
        if is_recorder(present):
            present.__func__.observers.append(self)
        else:
            self.module.__dict__[self.method] = _recorder(self.module, self.method, present, self)

    def detach(self) -> None:
        """Stop recording; the last observer puts the method back as it was."""
        present: Any = self.module.__dict__.get(self.method)
        if not is_recorder(present) or self not in present.__func__.observers:
            return
        present.__func__.observers.remove(self)
        if not present.__func__.observers:
            if present.__func__.replaced is None:
                del self.module.__dict__[self.method]
            else:
                self.module.__dict__[self.method] = present.__func__.replaced

    def see_batch(self, batch: Any, batch_size: int | None) -> None:
        """Note the batch of the step to come: its size, and the batch itself as long as no call was seen."""
        self.batch_size = batch_size
        if self.calls:
            self.batches.clear()
        elif self.problem is None and len(self.batches) < _KEPT_BATCHES:
            with self._guarded():
                structure, tensors = flatten(batch)
                self.batches.append((structure.fill([keep(t) for t in tensors]), batch_size))

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Recording must not cost a run: what it cannot copy ends it, with the reason kept for the error to come."""
        try:
            yield
        except Exception as error:
            self.problem = error

    def observations(self) -> list[Observation]:
        """Return what was observed, best first: structures of eval mode before those of training mode."""
        ordered = sorted(self.calls.values(), key=lambda calls: (calls.training, -calls.seen))
        return [calls.observation(ordered) for calls in ordered]

    def count(self) -> tuple[int, int]:
        """Return the number of different calls (by structure and shapes), and of batches while no call was seen.

        It changes whenever there is something new. A sum would not: with the second call the kept batch goes.
        """
        calls = sum(len(calls.shapes) for calls in self.calls.values())
        return calls, 0 if self.calls else len(self.batches)

    def record(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note one call; called before the method itself runs."""
        if self.problem is not None:
            return
        with self._guarded():
            try:
                value = dict(self.signature.bind(*args, **kwargs).arguments)
            except TypeError:
                return  # the call itself will say what is wrong with its arguments
            structure, tensors = flatten(value)
            key = (self.module.training, _kind(structure, tensors))
            calls = self.calls.get(key)
            if calls is None:
                if len(self.calls) >= _KEPT_STRUCTURES:
                    return
                calls = self.calls[key] = _Calls(key[0], self.signature, structure)
            calls.add(structure, tensors, self.batch_size)


def _recorder(module: nn.Module, method: str, replaced: Any, first: ForwardObserver) -> MethodType:
    """Make the method that records. It is a bound one, so that a copy of the module runs the copy, unrecorded."""
    original = getattr(type(module), method, None)

    def recorded(this: nn.Module, *args: Any, **kwargs: Any) -> Any:
        if this is module and not torch.compiler.is_compiling():
            for observer in recorded.observers:  # type: ignore[attr-defined]
                observer.record(args, kwargs)
        if replaced is not None and (this is module or original is None):
            return replaced(*args, **kwargs)
        assert original is not None
        return original(this, *args, **kwargs)

    if original is not None:
        functools.update_wrapper(recorded, original)
    parameters = [inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)]
    with contextlib.suppress(ValueError):  # a parameter named self, or positional-only ones behind it
        recorded.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*parameters, *first.signature.parameters.values()]
        )
    recorded.observers, recorded.replaced = [first], replaced  # type: ignore[attr-defined]
    return MethodType(recorded, module)


class _Calls:
    """All calls of one structure in one mode."""

    def __init__(self, training: bool, signature: inspect.Signature, structure: Structure) -> None:
        self.training = training
        self.signature = signature
        self.samples: list[Sample] = []
        self.shapes: dict[tuple[Shapes, int | None], None] = {}
        self.numbers = _numbers(structure)
        self.numbers_vary = False
        self.seen = 0

    def add(self, structure: Structure, tensors: list[Tensor], batch_size: int | None) -> None:
        self.seen += 1
        shapes = (tuple(tuple(t.shape) for t in tensors), batch_size)
        if shapes not in self.shapes and len(self.samples) < KEPT_CALLS:
            self.samples.append(Sample(self.signature, structure, tuple(keep(t) for t in tensors)))
        self.shapes[shapes] = None
        if not self.numbers_vary and self.seen <= 100 and _numbers(structure) != self.numbers:
            self.numbers_vary = True

    def observation(self, everything: list[_Calls]) -> Observation:
        shapes = dict(self.shapes)
        for other in everything:
            shapes |= dict.fromkeys(other.shapes_of(self.samples[0]))
        notes: tuple[str, ...] = ()
        if self.numbers_vary:
            notes = ("a number or text among the arguments differed between calls; the graph keeps the first call's",)
        mode = "training" if self.training else "evaluation"
        return Observation(tuple(self.samples), tuple(shapes), f"a call seen in {mode} mode", notes)

    def shapes_of(self, sample: Sample) -> list[tuple[Shapes, int | None]]:
        """The shapes that these calls gave the tensors of ``sample``; none where they lack one or its rank differs.

        Calls in training mode often have more arguments (targets) and show which dims of the common ones vary.
        """
        paths = self.samples[0].structure.paths
        if not set(sample.structure.paths) <= set(paths):
            return []
        places = [paths.index(p) for p in sample.structure.paths]
        ranks = [t.dim() for t in sample.tensors]
        found = [(tuple(shapes[i] for i in places), batch_size) for shapes, batch_size in self.shapes]
        return [(shapes, size) for shapes, size in found if [len(s) for s in shapes] == ranks]


def _kind(structure: Structure, tensors: list[Tensor]) -> Any:
    """What makes two calls the same structure: paths, dtypes, ranks and flags, not the values of numbers."""
    flags, _ = _constants(structure)
    return structure.paths, tuple((t.dtype, t.dim()) for t in tensors), tuple(flags)


def _numbers(structure: Structure) -> list[Any]:
    return _constants(structure)[1]


def _constants(structure: Structure) -> tuple[list[Any], list[Any]]:
    """Flags and keys on one side, numbers and text (names of files, say) on the other."""
    flags: list[Any] = []
    numbers: list[Any] = []
    arguments = list(structure.skeleton.values())
    flags.extend(a for a in arguments if isinstance(a, str))  # a mode, where text further in is data
    open_: list[Any] = [a for a in arguments if not isinstance(a, str)]
    while open_:
        value = open_.pop()
        if isinstance(value, dict):
            flags.extend(str(k) for k, v in value.items() if not isinstance(v, Slot))
            open_.extend(value.values())
        elif isinstance(value, (list, tuple)):
            open_.extend(value)
        elif isinstance(value, (bool, type(None))):
            flags.append(value)
        elif isinstance(value, (int, float, str)):
            numbers.append(value)
    return flags, numbers


def _public(path: TensorPath, signature: inspect.Signature) -> TensorPath:
    parameter = signature.parameters.get(path[0])
    return path[1:] if parameter is not None and parameter.kind is parameter.VAR_KEYWORD and len(path) > 1 else path


def _drop(value: Any, path: TensorPath, excluded: Callable[[TensorPath], bool]) -> Any:
    """Remove dictionary keys below the parameters whose path is excluded."""
    if not isinstance(value, dict):
        return value
    kept = {k: v for k, v in value.items() if not path or not excluded((*path, str(k)))}
    return {k: _drop(v, (*path, str(k)), excluded) for k, v in kept.items()}


def is_recorder(value: Any) -> bool:
    """Tell whether a module's attribute is the recording method of ``ForwardObserver``."""
    return isinstance(value, MethodType) and hasattr(value.__func__, "observers")


def is_compiled(module: nn.Module) -> bool:
    """Tell whether the module itself runs under ``torch.compile`` (also through ``Trainer.fit(torch.compile(m))``)."""
    return (
        getattr(module, "_compiler_ctx", None) is not None
        or getattr(module, "_compiled_call_impl", None) is not None
        or hasattr(module, "_orig_mod")
    )
