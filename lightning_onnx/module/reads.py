"""Which tensors a call reads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@contextlib.contextmanager
def tensors_read() -> Iterator[set[int]]:
    """Collect the ids of the tensors that are read inside the context, in this thread.

    A tensor is read if an operator takes it, or if its shape, dtype or any other attribute is asked for. An id means
    something only while its tensor exists.
    """
    read: set[int] = set()
    with _Functions(read), _Operators(read):
        yield read


class _Functions(TorchFunctionMode):
    """Sees functions, methods and attributes in Python."""

    def __init__(self, read: set[int]) -> None:
        super().__init__()
        self.read = read

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the arguments, and go on."""
        self.read.update(_ids(args, kwargs))
        return func(*args, **(kwargs or {}))


class _Operators(TorchDispatchMode):
    """Sees what does not go through Python, such as the operators of scripted modules."""

    supports_higher_order_operators = True  # such as torch.cond

    def __init__(self, read: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.read = read

    def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note the arguments, and go on."""
        self.read.update(_ids(args, kwargs))
        return func(*args, **(kwargs or {}))


def _ids(*values: Any) -> Iterator[int]:
    return (id(leaf) for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
