"""Names the weights that are NaN or infinite, so that they are not taken for an error of the export."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

_IsOfKind = Callable[[Tensor], Tensor]

_NAMED = 3
"""At most this many weights are named."""


def non_finite_weights(module: nn.Module) -> str | None:
    """Return a clause that names weights with NaN or infinity; None if there are none.

    Infinite buffers are left out: masks of attention are made of them.

    Args:
        module: The module; it is not run.

    Example:
        >>> layer = nn.Linear(2, 1)
        >>> _ = nn.init.constant_(layer.bias, float("nan"))
        >>> non_finite_weights(layer)
        "the module's weights are not finite: 'bias' (1 of 1 NaN)"
    """
    found = list(_found(module))
    if not found:
        return None
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"the module's weights are not finite: {', '.join(found[:_NAMED])}{more}"


def _found(module: nn.Module) -> Iterator[str]:
    for name, parameter in module.named_parameters():
        yield from _described(name, parameter, (("NaN", torch.isnan), ("infinite", torch.isinf)))
    for name, buffer in module.named_buffers():
        yield from _described(name, buffer, (("NaN", torch.isnan),))


def _described(name: str, tensor: Tensor, kinds: tuple[tuple[str, _IsOfKind], ...]) -> Iterator[str]:
    for kind, is_of_kind in kinds:
        with contextlib.suppress(NotImplementedError, RuntimeError, TypeError):  # sparse tensors, and other subclasses
            number = int(is_of_kind(tensor.detach()).sum())
            if number:
                yield f"'{name}' ({number} of {tensor.numel()} {kind})"
