"""Which tensors of a call are made from numbers and sizes alone: no value of an input decides what they hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

_FACTORIES = frozenset({"tensor", "arange", "zeros", "ones", "full", "linspace", "eye"})


class FixedTensors:
    """Follows tensors from the functions that make them. Where in doubt, a tensor is not fixed."""

    def __init__(self) -> None:
        self._by_storage: dict[int, Tensor] = {}

    def __contains__(self, value: object) -> bool:
        return isinstance(value, Tensor) and _storage(value) in self._by_storage

    def called(self, function: Callable[..., Any], name: str, /, *args: Any, **kwargs: Any) -> tuple[Any, bool]:
        """Call a function of torch; return its result, and whether that is fixed: all tensors that it takes are.

        Args:
            function: The function.
            name: Its name.
            *args: Its arguments.
            **kwargs: Its keyword arguments.
        """
        taken = _tensors((args, kwargs))
        is_fixed = all(t in self for t in taken) if taken else name in _FACTORIES
        before = torch.get_rng_state() if is_fixed else None
        result = function(*args, **kwargs)
        is_fixed = before is not None and torch.equal(before, torch.get_rng_state())
        if is_fixed:
            self._by_storage.update((_storage(t), t) for t in _tensors(result))
        else:
            for tensor in taken:  # the function may have written into them
                self._by_storage.pop(_storage(tensor), None)
        return result, is_fixed


def _tensors(value: object) -> list[Tensor]:
    """Return the tensors in nested containers, and in the slices of an index."""
    leaves = tree_leaves(value)
    leaves += [part for leaf in leaves if isinstance(leaf, slice) for part in (leaf.start, leaf.stop, leaf.step)]
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    """Return an address that tensors share if one is a view of the other; those without memory have their own."""
    try:
        return tensor.untyped_storage().data_ptr() or -id(tensor)
    except RuntimeError:  # a sparse tensor, or one of ``torch.func``
        return -id(tensor)
