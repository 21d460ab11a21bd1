"""Tells whether a module still has the weights that it had: the same module, untouched, without a copy of them."""

from __future__ import annotations

import dataclasses
import weakref

import torch
from torch import Tensor, nn

from lightning_onnx.module.saved import version_of
from lightning_onnx.module.weights.state import named_tensors

_Mark = tuple[str, int, int | None, int]
"""Name, identity, version and content of a tensor."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stamp:
    """The parameters and buffers of a module at one moment.

    Attributes:
        module: The module; the stamp does not keep it alive.
        marks: One for each tensor; torch counts changes in its version, and the content shows those that it does not.

    Example:
        >>> module = nn.Linear(2, 2)
        >>> stamp = Stamp.of(module)
        >>> module.bias.data[0] += 1
        >>> stamp.fits(module), Stamp.of(module).fits(module), Stamp.of(module).fits(nn.Linear(2, 2))
        (False, True, False)
    """

    module: weakref.ref[nn.Module]
    marks: tuple[_Mark, ...]

    @classmethod
    def of(cls, module: nn.Module) -> Stamp:
        """Return the stamp of a module as it is now."""
        return cls(weakref.ref(module), _marks(module))

    def fits(self, module: nn.Module) -> bool:
        """Tell whether this is the same module with the same weights."""
        return self.module() is module and self.marks == _marks(module)


def _marks(module: nn.Module) -> tuple[_Mark, ...]:
    return tuple((name, id(t), version_of(t), _content(t)) for name, t in named_tensors(module))


def _content(tensor: Tensor) -> int:
    """Return a hash of the values; 0 for those of a class whose values cannot be read."""
    if tensor.is_meta or type(tensor) not in (Tensor, nn.Parameter):
        return 0
    try:
        return int(torch.hash_tensor(tensor.detach()))
    except (RuntimeError, NotImplementedError):  # a dtype for which torch has no hash
        return 0
