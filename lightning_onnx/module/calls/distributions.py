"""Replaces distributions of ``torch.distributions`` by their parameters, and rebuilds them.

A graph returns only tensors, so a method that returns a distribution is exported as if it returned the parameters,
named as the attributes of the distribution: ``loc``, or ``base_dist.loc`` for an ``Independent``.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Independent, MixtureSameFamily, Transform, TransformedDistribution

_SAME_PARAMETER = (("logits", "probs"), ("scale_tril", "covariance_matrix", "precision_matrix"))
"""Alternatives for one parameter; a distribution takes one of them and computes the others from it."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """A distribution, or a transform of one, taken apart.

    Attributes:
        whole: The distribution.
        parts: Its parameters by attribute name: tensors, or other distributions and transforms.
    """

    whole: Distribution | Transform
    parts: Mapping[str, object]

    def put_together(self, parts: Mapping[str, Any]) -> object:
        """Return a distribution of the same class with other ``parts``.

        If the class cannot be constructed from its parameters, the distribution itself is returned.
        """
        whole = self.whole
        if isinstance(whole, Transform):
            copied = copy.copy(whole)
            vars(copied).update(parts)
            return copied
        if isinstance(whole, Independent):
            return Independent(parts["base_dist"], whole.reinterpreted_batch_ndims, validate_args=False)
        accepted = inspect.signature(type(whole)).parameters
        others = {name for names in _SAME_PARAMETER for name in names} - set(parts)
        kept = {n: getattr(whole, n) for n in accepted if n not in parts and n not in others and hasattr(whole, n)}
        renamed = {"base_distribution" if name == "base_dist" else name: part for name, part in parts.items()}
        try:
            return type(whole)(**kept, **renamed, validate_args=False)
        except TypeError:
            return whole


def take_apart(value: Distribution | Transform) -> Parts | None:
    """Return the parts of a distribution or a transform; None if it has no known parts.

    Example:
        >>> import torch
        >>> take_apart(torch.distributions.Normal(torch.zeros(2), torch.ones(2))).parts
        {'loc': tensor([0., 0.]), 'scale': tensor([1., 1.])}
    """
    if isinstance(value, Transform):
        kinds = (Tensor, Transform, list, tuple)
        parts = {k: v for k, v in vars(value).items() if isinstance(v, kinds) and not k.startswith("_")}
        return Parts(value, parts) if _holds_tensor(parts.values()) else None
    names = _part_names(value)
    return Parts(value, {name: getattr(value, name) for name in names}) if names else None


def _part_names(value: Distribution) -> list[str]:
    if isinstance(value, MixtureSameFamily):
        return ["mixture_distribution", "component_distribution"]
    if isinstance(value, Independent):
        return ["base_dist"]
    try:
        constraints = value.arg_constraints
    except NotImplementedError:
        constraints = {}
    if not constraints and isinstance(value, TransformedDistribution):
        return ["base_dist", "transforms"]
    names = list(constraints)
    for same in _SAME_PARAMETER:
        present = [name for name in same if name in names]
        if len(present) > 1:
            given = _given(value, present)
            names = [name for name in names if name not in present or name == given]
    others = {name for same in _SAME_PARAMETER for name in same}
    accepted = (name for name in inspect.signature(type(value)).parameters if name not in {*names, *others})
    return [*names, *(name for name in accepted if isinstance(getattr(value, name, None), Tensor))]  # a temperature


def _given(value: Distribution, names: list[str]) -> str:
    """Return which of several alternatives for one parameter to use: one that is stored, instead of computing it.

    A distribution stores the one that it was given, and also those that were computed later.
    """
    return next((name for name in names if name in vars(value)), names[0])


def _holds_tensor(values: Any) -> bool:
    """Tell whether a transform, or one inside it, has tensors among its attributes."""
    for value in values:
        if isinstance(value, Tensor) or (isinstance(value, Transform) and take_apart(value) is not None):
            return True
        if isinstance(value, (list, tuple)) and _holds_tensor(value):
            return True
    return False
