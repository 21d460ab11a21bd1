"""Tells whether a module still has the weights that it had: the same module, untouched, without a copy of them."""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from collections.abc import Iterator

from torch import Tensor, nn

from lightning_onnx.module.arrays import Content, content_of
from lightning_onnx.module.weights.state import named_tensors

_Mark = tuple[str, int, Content | None]
"""Name, identity and content of a tensor; None if its bytes cannot be read."""


@dataclasses.dataclass(frozen=True, eq=False)
class Stamp:
    """The parameters and buffers of a module at one moment.

    Attributes:
        module: The module; the stamp does not keep it alive.
        marks: One for each tensor; its content also shows changes through ``.data``, which torch does not count.

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
        return cls(weakref.ref(module), tuple(_marks(module)))

    def fits(self, module: nn.Module) -> bool:
        """Tell whether this is the same module with the same weights; if some cannot be read, the answer is no.

        Tensors are read up to the first one that has changed: after a step of training, mostly the first of all.
        """
        if self.module() is not module or any(content is None for _, _, content in self.marks):
            return False
        return all(mark == now for mark, now in itertools.zip_longest(self.marks, _marks(module)))


def _marks(module: nn.Module) -> Iterator[_Mark]:
    return ((name, id(tensor), _content(tensor)) for name, tensor in named_tensors(module))


def _content(tensor: Tensor) -> Content | None:
    if type(tensor) not in (Tensor, nn.Parameter, nn.Buffer) or tensor.is_quantized:  # these hold more than bytes
        return None
    try:
        return content_of(tensor)
    except RuntimeError:  # such as a tensor on the meta device
        return None
