"""Rounding errors in the inputs and the weights of a call, without a second copy of the weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_ULPS = 4
"""Units in the last place by which a value changes at most: less than a network's own rounding error."""

_KEPT_BYTES = 2**26
"""Perturbed weights that are kept for the next operator, in bytes."""


def perturb(tensor: Tensor, seed: int | tuple[int, ...]) -> Tensor:
    """Return a tensor whose floats differ by up to four units in the last place.

    The noise is computed by numpy, which modes of torch do not see.

    Args:
        tensor: Of any dtype; integers are only copied.
        seed: The same seed makes the same noise.
    """
    if not tensor.is_floating_point():
        return tensor.clone()
    generator = np.random.default_rng(seed)
    wide = np.float64 if tensor.dtype == torch.float64 else np.float32
    noise = np.asarray(generator.random(tuple(tensor.shape), wide))
    most = _ULPS * torch.finfo(tensor.dtype).eps
    np.multiply(noise, wide(2 * most), out=noise)
    np.add(noise, wide(1 - most), out=noise)
    factors = torch.from_numpy(noise)
    is_plain = type(tensor) in (Tensor, nn.Parameter) and tensor.layout is torch.strided
    if is_plain and factors.dtype == tensor.dtype:
        return factors.mul_(tensor)
    return tensor * factors.to(tensor.dtype)


class PerturbedWeights(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Operators get weights with rounding errors, the same ones in all of a call.

    Each weight is changed when an operator takes it, so that not all of them are in memory twice.

    Args:
        weights: The weights.
        seed: Chooses one of many changes.

    Attributes:
        kept_bytes: Bytes of the weights that are in memory twice.

    Example:
        >>> weight = torch.full((3,), 0.1)
        >>> with PerturbedWeights([weight], seed=0):
        ...     bool((weight + 0 == weight + 0).all()), bool((weight + 0 == 0.1).all())
        (True, False)
    """

    def __init__(self, weights: Iterable[Tensor], seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._weights = {id(weight): (weight, number) for number, weight in enumerate(weights)}
        self._seed = seed
        self._kept: OrderedDict[int, Tensor] = OrderedDict()
        self.kept_bytes = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Replace the weights among the arguments."""
        return func(*tree_map(self._perturbed, args), **tree_map(self._perturbed, dict(kwargs or {})))

    def _perturbed(self, value: Any) -> Any:
        if id(value) not in self._weights:
            return value
        if id(value) not in self._kept:
            weight, number = self._weights[id(value)]
            self._kept[id(value)] = perturb(weight, (self._seed, number))
            self.kept_bytes += weight.nbytes
            while len(self._kept) > 1 and self.kept_bytes > _KEPT_BYTES:
                self.kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        self._kept.move_to_end(id(value))
        return self._kept[id(value)]
