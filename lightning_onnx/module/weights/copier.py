"""Deep copies of attributes: objects that cannot be copied are shared, and a failure leaves no incomplete copies."""

from __future__ import annotations

import copy
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

_ATTEMPTS = 100
"""If more objects of an attribute cannot be copied, the whole attribute is shared."""


class Memo(dict[int, Any]):
    """A memo for ``copy.deepcopy`` that can forget the entries of a failed copy."""

    def __init__(self) -> None:
        super().__init__()
        self._added: list[int] = []

    def __setitem__(self, key: int, value: Any) -> None:
        if key not in self:
            self._added.append(key)
        super().__setitem__(key, value)

    def mark(self) -> int:
        """Return a point to go back to."""
        return len(self._added)

    def forget_since(self, mark: int) -> None:
        """Forget all copies made since ``mark``: some of them are incomplete."""
        for key in self._added[mark:]:
            if key != id(self):  # this entry keeps the originals alive, so that their ids are not reused
                self.pop(key, None)
        self._added[mark:] = [key for key in self._added[mark:] if key in self]


class Copier:
    """Copies values with one memo, so that each object is copied once.

    Attributes:
        memo: Copies by the ``id`` of their originals. Entries made beforehand replace their originals.
    """

    def __init__(self) -> None:
        self.memo = Memo()

    def copy(self, value: Any) -> Any:
        """Return a deep copy that shares every object that cannot be copied, such as a lock, with the original.

        A tensor that is the result of a computation becomes a detached copy; a random generator is copied with its
        state.
        """
        if id(value) in self.memo:  # deepcopy returns functions and classes without checking the memo
            return self.memo[id(value)]
        for _ in range(_ATTEMPTS):
            mark = self.memo.mark()
            try:
                return copy.deepcopy(value, self.memo)
            except Exception as error:
                self.memo.forget_since(mark)
                found = _innermost(error.__traceback__)
                if found is None or id(found[0]) in self.memo:
                    break
                self.memo[id(found[0])] = self._instead_of(found[0])
        return value

    def _instead_of(self, original: Any) -> Any:
        """Return the replacement of an object that cannot be deep-copied."""
        if isinstance(original, Tensor):
            return on_cpu(original, original, copy=True)
        if isinstance(original, torch.Generator):
            return _generator_like(original)
        if isinstance(original, nn.Module):
            made = self.memo[id(original)] = object.__new__(type(original))
            self.fill(made, original.__dict__)
            return made
        return original

    def fill(self, made: object, attributes: dict[str, Any]) -> None:
        """Set copies of attributes on a new object."""
        made.__dict__.update({name: self.copy(value) for name, value in attributes.items()})


def on_cpu(data: Tensor, original: Tensor, copy: bool = False) -> Tensor:
    """Return a detached tensor on the CPU of the same kind as ``original``; half precision becomes float32.

    Args:
        data: The values; meta tensors stay meta tensors.
        original: A parameter or another tensor.
        copy: Whether to copy the values even if they are on the CPU already.
    """
    dtype = torch.float32 if data.dtype in (torch.bfloat16, torch.float16) else data.dtype
    data = data.detach() if data.is_meta else data.detach().to("cpu", dtype, copy=copy)
    return nn.Parameter(data, requires_grad=False) if isinstance(original, nn.Parameter) else data


def _generator_like(original: torch.Generator) -> torch.Generator:
    made = torch.Generator()
    if original.device.type == "cpu":
        made.set_state(original.get_state())
    else:
        made.manual_seed(original.initial_seed())
    return made


def _innermost(traceback: TracebackType | None) -> tuple[Any] | None:
    """Return the object that ``copy.deepcopy`` was copying when it failed, in a tuple because it may be None."""
    found = None
    while traceback is not None:
        if traceback.tb_frame.f_code is copy.deepcopy.__code__:
            found = (traceback.tb_frame.f_locals["x"],)
        traceback = traceback.tb_next
    return found
