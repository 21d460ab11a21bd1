"""Random numbers without a generator of the module's own, which neither torch.export nor ONNX knows."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from lightning_onnx.tracing.patches.patch import Patch, put_in, replaced_attribute

_FUNCTIONS = ("bernoulli", "multinomial", "normal", "poisson", "rand", "randint", "randn", "randperm")
_METHODS = (
    "bernoulli", "bernoulli_", "cauchy_", "exponential_", "geometric_", "log_normal_", "multinomial", "normal_",
    "random_", "uniform_",
)  # fmt: skip


@contextlib.contextmanager
def without_generators(patch: Patch) -> Iterator[None]:
    """Replace every function and method of torch that takes a generator; they draw from torch's own."""
    found = [("torch", torch, name) for name in _FUNCTIONS] + [("torch:Tensor", Tensor, name) for name in _METHODS]
    each = (
        dataclasses.replace(
            patch, owner=path, name=name, replacement=_without(getattr(owner, name)), replace=replaced_attribute
        )
        for path, owner, name in found
    )
    with put_in(*each):
        yield


def _without(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def drawn(*args: Any, generator: object = None, **options: Any) -> Any:
        return original(*args, **options)

    return drawn
