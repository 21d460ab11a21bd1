"""The named tensors of a batch, which give names to the arguments of a ``*args`` parameter."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Sequence

from torch import Tensor

from lightning_onnx.module.calls.nested import Structure, TensorPath, flatten


class Entries:
    """The tensors of one batch that have names, without keeping them alive.

    Args:
        batch: The batch: a dict, a dataclass, or anything else that has tensors.

    Example:
        >>> import inspect
        >>> import torch
        >>> from lightning_onnx.module.calls.nested import flatten
        >>> x = torch.zeros(2, 3)
        >>> entries = Entries({"image": x})
        >>> def forward(*args): ...
        >>> structure, tensors = flatten({"args": (x,)})
        >>> entries.paths_of(structure, tensors, inspect.signature(forward))
        ((('args', '0'), ('image',)),)
    """

    def __init__(self, batch: object) -> None:
        structure, tensors = flatten(batch)
        named = [(p, t) for p, t in zip(structure.paths, tensors, strict=True) if p and not p[0].isdigit()]
        self._named = [(path, weakref.ref(tensor)) for path, tensor in named]

    def paths_of(
        self, structure: Structure, tensors: Sequence[Tensor], signature: inspect.Signature
    ) -> tuple[tuple[TensorPath, TensorPath], ...]:
        """Return the path in a call and the path in the batch of each tensor of ``*args`` that is an entry.

        Args:
            structure: The call.
            tensors: Its tensors, in flat order.
            signature: The signature of the method.
        """
        found = []
        for path, tensor in zip(structure.paths, tensors, strict=True):
            entry = next((entry for entry, held in self._named if held() is tensor), None)
            if entry is not None and signature.parameters[path[0]].kind is inspect.Parameter.VAR_POSITIONAL:
                found.append((path, entry))
        return tuple(found)


def takes_args(signature: inspect.Signature) -> bool:
    """Tell whether a method has a ``*args`` parameter."""
    return any(p.kind is p.VAR_POSITIONAL for p in signature.parameters.values())
