"""Records of what a call may change, with the value before the call: attributes, variables, contents, tensors."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
import pickle
import random
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_onnx.module.tracing_thread import without_warnings
from lightning_onnx.module.variables import Variable

Place = tuple[str, str]
"""An attribute: the name of the submodule or class that has it (empty for other variables), and its own name."""

Generator = torch.Generator | np.random.Generator | np.random.RandomState | random.Random
RANDOM = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
"""Random generators, which a module may have of its own."""

GENERATORS = (*RANDOM, io.StringIO, io.BytesIO)
"""What has a state of its own kind: random generators, and streams in memory."""


@dataclasses.dataclass
class Clone:
    """A tensor, its version (torch counts the writes into it) and its values at that version."""

    tensor: Tensor
    version: int
    values: Tensor


def version_of(tensor: Tensor) -> int:
    """Return how often a tensor was written to; 0 if torch does not count the writes (inference tensors)."""
    return 0 if tensor.is_inference() else tensor._version


@dataclasses.dataclass(frozen=True)
class Saved:
    """Something that a call may change.

    Attributes:
        place: The attribute or variable itself, or the one that contains it.
        is_outside: Whether it is outside the module, where the training uses it too.
    """

    place: Place
    is_outside: bool = dataclasses.field(default=False, kw_only=True)

    def put_back(self) -> bool:
        """Undo the change; return whether there was one."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class SavedAttribute(Saved):
    """An attribute of a module."""

    part: nn.Module
    value: Any

    def put_back(self) -> bool:
        """See ``Saved``."""
        name = self.place[1]
        if name in self.part.__dict__ and self.part.__dict__[name] is self.value:
            return False
        self.part.__dict__[name] = self.value
        return True


@dataclasses.dataclass(frozen=True)
class SavedSlot(Saved):
    """A slot of an object."""

    owner: object
    name: str
    value: Any

    def put_back(self) -> bool:
        """See ``Saved``."""
        if getattr(self.owner, self.name, None) is self.value:
            return False
        object.__setattr__(self.owner, self.name, self.value)
        return True


@dataclasses.dataclass(frozen=True)
class SavedVariable(Saved):
    """The binding of a variable."""

    variable: Variable
    value: Any

    def put_back(self) -> bool:
        """See ``Saved``."""
        if self.variable.value is self.value:
            return False
        self.variable.set(self.value)
        return True


@dataclasses.dataclass(frozen=True)
class SavedNewAttributes(Saved):
    """The set of a module's or class's attributes; those added by a call are removed."""

    owner: nn.Module | type
    names: set[str]

    def put_back(self) -> bool:
        """See ``Saved``."""
        if isinstance(self.owner, type):
            new = {name for name in set(vars(self.owner)) - self.names if not name.startswith("__")}
            for name in new:
                delattr(self.owner, name)
            return bool(new)
        for name in set(vars(self.owner)) - self.names:
            del self.owner.__dict__[name]
        return False  # an attribute that did not exist before cannot be hidden state of a later call


@dataclasses.dataclass(frozen=True)
class SavedContent(Saved):
    """The content of a container."""

    container: Any
    content: Any

    def put_back(self) -> bool:
        """See ``Saved``."""
        if _is_same(self.container, self.content):
            return False
        self.container.clear()
        (self.container.extend if isinstance(self.container, (list, deque)) else self.container.update)(self.content)
        return True


@dataclasses.dataclass(frozen=True)
class SavedValues(Saved):
    """The values of a tensor."""

    clone: Clone

    def put_back(self) -> bool:
        """See ``Saved``."""
        tensor = self.clone.tensor
        if tensor.is_inference():
            if torch.equal(tensor, self.clone.values):
                return False
        elif tensor._version == self.clone.version:
            return False
        with torch.inference_mode(tensor.is_inference()), torch.no_grad():
            tensor.copy_(self.clone.values)
        self.clone.version = version_of(tensor)
        return True


@dataclasses.dataclass(frozen=True)
class SavedGenerator(Saved):
    """The state of a random generator, or of a stream in memory."""

    generator: Any
    state: Any

    def put_back(self) -> bool:
        """See ``Saved``."""
        if _is_same_state(generator_state(self.generator), self.state):
            return False
        if isinstance(self.generator, np.random.Generator):
            self.generator.bit_generator.state = self.state
        elif isinstance(self.generator, (io.StringIO, io.BytesIO)):
            value, position = self.state
            self.generator.seek(0)
            self.generator.truncate()
            self.generator.write(value)
            self.generator.seek(position)
        else:
            setter = getattr(self.generator, "set_state", None) or self.generator.setstate
            setter(self.state)
        return True


def generator_state(generator: Any) -> Any:
    """Return the state of one of ``GENERATORS``."""
    if isinstance(generator, np.random.Generator):
        return generator.bit_generator.state
    if isinstance(generator, (io.StringIO, io.BytesIO)):
        return None if generator.closed else (generator.getvalue(), generator.tell())
    return (getattr(generator, "get_state", None) or generator.getstate)()


def _is_same_state(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return torch.equal(one, other)
    return pickle.dumps(one) == pickle.dumps(other)


def lend_copy(variable: Variable) -> None:
    """Put a copy in the place of an iterator, such as ``itertools.count()``, if it can be copied."""
    with without_warnings(), contextlib.suppress(Exception):  # Python 3.14 no longer copies those of itertools
        copied = copy.copy(variable.value)
        if copied is not variable.value:
            variable.set(copied)


def shallow(container: Any) -> Any:
    """Return a shallow copy of a container's content that runs no code of its class."""
    if isinstance(container, dict):
        return dict(container)
    return set(container) if isinstance(container, set) else list(container)


def _is_same(container: Any, content: Any) -> bool:
    if len(container) != len(content):
        return False
    if isinstance(content, dict):
        return all(name in container and container[name] is value for name, value in content.items())
    if isinstance(content, set):
        return bool(container == content)
    return all(a is b for a, b in zip(container, content, strict=True))
