"""Records the calls of the exported method during training and validation.

While it records, the instance's bound method is replaced: a forward pre-hook would also see Lightning's own redirected
calls under DDP, and would miss ``module.forward(x)``. It keeps the shapes of all calls, and the tensors of a few.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx.errors import ConfigurationError, first_line
from lightning_onnx.module.calls.entries import Entries, takes_args
from lightning_onnx.module.calls.membership import Membership
from lightning_onnx.module.calls.nested import TensorPath, flatten
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.calls.recorded_calls import CallKind, RecordedCalls, kind_of
from lightning_onnx.module.calls.sample import cpu_copy, method_signature

_KEPT_STRUCTURES = 16
_KEPT_BATCHES = 6
_KEPT_PROBLEMS = 3


class ForwardObserver:
    """Records the calls of one method of a module between ``attach`` and ``detach``.

    Attributes:
        batch_size: The batch size of the current step; None if unknown.
        calls: The recorded calls.
        batches: The first batches, each with its batch size; empty once there is a call.
        membership: Whether the method gets parts of the batches.

    Raises:
        ConfigurationError: If the module has no such method, or it is a part of the module, whose calls a method cannot
            stand in for.

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
        if isinstance(getattr(module, method), nn.Module):
            raise ConfigurationError(
                f"{method!r} is a part of {type(module).__name__} and no method. Name a method that calls it, or after "
                f"the training export the part itself: lightning_onnx.export(module.{method}, ...)."
            )
        self.batch_size: int | None = None
        self.calls: dict[tuple[bool, CallKind], RecordedCalls] = {}
        self.batches: list[tuple[Any, int | None]] = []
        self.membership = Membership()
        self._entries: Entries | None = None
        self._call_problems: dict[str, Exception] = {}
        self._batch_problems: dict[str, Exception] = {}

    def attach(self) -> None:
        """Start recording. A compiled module is not recorded, because that would recompile it."""
        if is_compiled(self.module) or isinstance(self.module, torch.jit.ScriptModule):
            return
        present: Any = self.module.__dict__.get(self.method)
        if is_recorder(present):
            present.__func__.observers.append(self)
        else:
            self.module.__dict__[self.method] = _recorder(self.module, self.method, present, self)

    def detach(self) -> None:
        """Stop recording; the last observer restores the original method."""
        present: Any = self.module.__dict__.get(self.method)
        if not is_recorder(present) or self not in present.__func__.observers:
            return
        present.__func__.observers.remove(self)
        if not present.__func__.observers:
            if present.__func__.replaced is None:
                del self.module.__dict__[self.method]
            else:
                self.module.__dict__[self.method] = present.__func__.replaced

    def see_batch(self, batch: object, batch_size: int | None) -> None:
        """Record the batch of the next step: its size, and until the first call is seen, the batch itself.

        Args:
            batch: The batch.
            batch_size: The loader's batch size; None if it has none: then the batch itself tells (``_rows_of``).
        """
        self.batch_size = batch_size
        if takes_args(self.signature):
            with _kept(self._batch_problems, "a batch could not be recorded"):
                self._entries = Entries(batch)
        with _kept(self._batch_problems, "a batch could not be recorded"):
            self.membership.see_batch(batch)
        if self.calls:
            self.batches.clear()
            if batch_size is not None:
                return
        with _kept(self._batch_problems, "a batch could not be recorded"):
            structure, tensors = flatten(batch)
            if batch_size is None:
                self.batch_size = _rows_of(structure.paths, tensors)
            if not self.calls and len(self.batches) < _KEPT_BATCHES:
                self.batches.append((structure.fill([cpu_copy(t) for t in tensors]), self.batch_size))

    @property
    def problems(self) -> Mapping[str, Exception]:
        """What could not be recorded, in clauses, with the exceptions; batches count only while no call is known."""
        return self._call_problems if self.calls else {**self._call_problems, **self._batch_problems}

    def observations(self) -> list[Observation]:
        """Return the observed calls, best first: those in eval mode before those in training mode."""
        ordered = sorted(self.calls.values(), key=lambda calls: (calls.training, -calls.seen))
        return [calls.observation(ordered) for calls in ordered]

    def count(self) -> tuple[int, int]:
        """Return the number of different calls (by structure and shapes), and the number of kept batches.

        The pair changes whenever there is something new. The sum would not: the first call replaces the kept batch.
        """
        calls = sum(len(calls.shapes) for calls in self.calls.values())
        return calls, 0 if self.calls else len(self.batches)

    def record(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Record one call, before the method itself runs."""
        with _kept(self._call_problems, f"a call of {self.method} could not be recorded"):
            try:
                value = dict(self.signature.bind(*args, **kwargs).arguments)
            except TypeError:
                return  # the method itself raises, with a better message
            structure, tensors = flatten(value)
            self.membership.see_call(tensors)
            key = (self.module.training, kind_of(structure, tensors))
            calls = self.calls.get(key)
            if calls is None:
                if len(self.calls) >= _KEPT_STRUCTURES:
                    return
                calls = self.calls[key] = RecordedCalls(key[0], self.signature, structure)
            calls.add(structure, tensors, self.batch_size, self._entries)


def _rows_of(paths: Sequence[TensorPath], tensors: Sequence[Tensor]) -> int | None:
    """Return a batch's number of rows: the first dim of its first tensor, or its images, if it begins with a list.

    A list inside of a batch may also hold the inputs of a module; then the other tensors have as many rows.
    """
    rows = {path: tensor.shape[0] for path, tensor in zip(paths, tensors, strict=True) if tensor.dim()}
    if not rows:
        return None
    folder, first = next(iter(rows))[:-1], next(iter(rows.values()))
    others = [size for path, size in rows.items() if path[:-1] != folder]
    is_list = folder and others and first not in others
    return sum(path[:-1] == folder for path in rows) if is_list else first


@contextlib.contextmanager
def _kept(problems: dict[str, Exception], what: str) -> Iterator[None]:
    """Keep an exception for a later message: it must not end the run, nor hide what can be recorded."""
    try:
        yield
    except Exception as error:
        if len(problems) < _KEPT_PROBLEMS:
            problems.setdefault(f"{what} ({first_line(error)})", error)


def _recorder(module: nn.Module, method: str, replaced: Any, first: ForwardObserver) -> MethodType:
    """Make the recording method. It is bound to the module, so that a copy of the module calls the copy, unrecorded."""
    original = getattr(type(module), method, None)

    def recorded(this: nn.Module, *args: object, **kwargs: object) -> object:
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
    with contextlib.suppress(ValueError):  # a parameter named self, or positional-only ones after it
        recorded.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [*parameters, *first.signature.parameters.values()]
        )
    recorded.observers, recorded.replaced = [first], replaced  # type: ignore[attr-defined]
    return MethodType(recorded, module)


def is_recorder(value: object) -> bool:
    """Tell whether a module's attribute is the recording method of ``ForwardObserver``."""
    return isinstance(value, MethodType) and hasattr(value.__func__, "observers")


def is_compiled(module: nn.Module) -> bool:
    """Tell whether the module itself runs under ``torch.compile`` (also through ``Trainer.fit(torch.compile(m))``)."""
    return (
        getattr(module, "_compiler_ctx", None) is not None
        or getattr(module, "_compiled_call_impl", None) is not None
        or hasattr(module, "_orig_mod")
    )
