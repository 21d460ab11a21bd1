"""Differences that are not errors in another program: the order of ties, the last digits, the signs of zeros.

Each mode is active in its ``with`` block, in the thread that runs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

_aten = torch.ops.aten
_ORDERED = {_aten.topk.default: 2, _aten.sort.default: 1, _aten.sort.stable: 1}
"""Operators that return values and indices, each with the position of its ``dim`` argument."""

_LINEAR = {
    _aten.addbmm,
    _aten.addmm,
    _aten.addmv,
    _aten.avg_pool1d,
    _aten.avg_pool2d,
    _aten.avg_pool3d,
    _aten.baddbmm,
    _aten.bmm,
    _aten.convolution,
    _aten.cumsum,
    _aten.dot,
    _aten.mean,
    _aten.mm,
    _aten.mv,
    _aten.sum,
}
"""Sums whose terms are inputs or products of inputs; with absolute values as inputs, they sum the terms' magnitudes."""

_SUMS = _LINEAR | {
    _aten._cdist_forward,
    _aten._log_softmax,
    _aten._native_batch_norm_legit_no_training,
    _aten._scaled_dot_product_flash_attention_for_cpu,
    _aten._softmax,
    _aten.addr,
    _aten.cumprod,
    _aten.linalg_vector_norm,
    _aten.logcumsumexp,
    _aten.logsumexp,
    _aten.native_batch_norm,
    _aten.native_group_norm,
    _aten.native_layer_norm,
    _aten.norm,
    _aten.prod,
    _aten.std,
    _aten.std_mean,
    _aten.var,
    _aten.var_mean,
}
"""Operators that add or multiply many numbers: another order changes even an exact result."""


_RESIZING = {
    _aten._upsample_bicubic2d_aa,
    _aten._upsample_bilinear2d_aa,
    _aten.upsample_bicubic2d,
    _aten.upsample_bilinear2d,
}
"""Weighted averages of pixels: where these are integers, each program rounds after other steps."""

_TRANSFORMS = {_aten._fft_c2c, _aten._fft_c2r, _aten._fft_r2c}
"""Sums over whole dims: each element is as uncertain as the largest one is large, but for zeros that are exact."""


class TiesReversed(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Takes the last of equal values where torch takes the first; both are correct.

    For ``topk``, ``sort`` and non-maximum suppression, neither torch nor ONNX defines which of equal values is first.
    If a module's outputs change, they depend on the order of equal scores, as in untrained detectors.

    Example:
        >>> with TiesReversed():
        ...     torch.topk(torch.tensor([1.0, 0.0, 1.0]), 1).indices
        tensor([2])
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Reverse the input, and then the indices."""
        kwargs = dict(kwargs or {})
        if func in _ORDERED and not kwargs.get("stable"):
            place = _ORDERED[func]
            dim = args[place] if len(args) > place else kwargs.get("dim", -1)
            values, indices = func(args[0].flip(dim) if args[0].dim() else args[0], *args[1:], **kwargs)
            return values, args[0].shape[dim] - 1 - indices if args[0].dim() else indices
        if func.namespace == "torchvision" and str(func) == "torchvision.nms.default":
            boxes, scores, threshold = args
            kept: Tensor = func(boxes.flip(0), scores.flip(0), threshold)
            return len(scores) - 1 - kept
        return func(*args, **kwargs)


class Rounded(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Changes the results of operators by rounding errors, where the exact result has more digits than float32 holds.

    Exact results are the same in every program, and stay: copies, comparisons, 0.5 + 0.25, sums of zeros.

    Args:
        generator: Chooses one of many ways to round; None rounds to the nearest float32.

    Example:
        >>> with Rounded(torch.Generator().manual_seed(0)):
        ...     bool((torch.ones(3) / 4 == 0.25).all()), bool((torch.ones(3) / 3 == 1 / 3).all())
        (True, False)
    """

    def __init__(self, generator: torch.Generator | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.generator = generator

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute again in float64, to see which results were rounded."""
        kwargs = dict(kwargs or {})
        result = func(*args, **kwargs)
        if not _computes(func, args):
            return result
        terms = None
        wide = _pixels_in_double if func.overloadpacket in _RESIZING else _in_double
        try:
            exact = func(*tree_map(wide, args), **tree_map(wide, kwargs))
            if func.overloadpacket in _LINEAR:
                terms = func(*tree_map(_magnitude, args), **tree_map(_magnitude, kwargs))
        except Exception:  # an operator without float64
            exact = result
        if func.overloadpacket in _TRANSFORMS:
            terms = _largest(exact, args[1])
        is_sum = func.overloadpacket in _SUMS
        if isinstance(result, Tensor):
            return self._changed(result, exact, is_sum, terms)
        if isinstance(result, (tuple, list)):
            return type(result)(self._changed(r, e, is_sum) for r, e in zip(result, exact, strict=True))
        return result

    def _average(self, exact: Tensor) -> Tensor:
        """Return averages of pixels as pixels, rounded after an error of up to half a pixel's unit."""
        if self.generator is not None:
            exact = exact + torch.rand(exact.shape, generator=self.generator, dtype=exact.dtype) - 0.5
        return exact.round().clamp(0, 255).to(torch.uint8)

    def _changed(self, result: Any, exact: Any, is_sum: bool, terms: Tensor | None = None) -> Any:
        if not isinstance(result, Tensor) or exact.shape != result.shape:
            return result
        if result.dtype == torch.complex64:
            parts, exact_parts = (torch.view_as_real(t.resolve_conj()) for t in (result, exact))
            along = None if terms is None else terms[..., None]
            return torch.view_as_complex(self._changed(parts, exact_parts, is_sum, along))
        if result.dtype == torch.uint8 and exact.is_floating_point():
            return self._average(exact)
        if result.dtype != torch.float32:
            return result
        if self.generator is None:
            return exact.to(result.dtype)
        lost = (exact.double() - result.double()).abs()
        if not is_sum and not lost.any():
            return result
        eps = torch.finfo(result.dtype).eps
        size = 4 * lost + eps * result.double().abs() * (4 if is_sum else 1)
        if terms is not None:  # if terms cancel, the error of the small rest is relative to the large terms
            size = size + eps * terms.double()
        rounds = torch.isfinite(result) & torch.isfinite(lost) & ((lost > 0) | is_sum)
        noise = torch.rand(result.shape, generator=self.generator, dtype=torch.float64) * 2 - 1
        return torch.where(rounds, (result.double() + size * noise).to(result.dtype), result)


class ZeroSigns(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Changes the signs of zeros that operators compute: ``-0.0`` equals ``0.0``, and programs differ here.

    Args:
        choose: Returns zeros of a given shape, with the new signs.

    Example:
        >>> with ZeroSigns(lambda shape: -torch.zeros(shape)):
        ...     torch.relu(torch.tensor([-1.0]))
        tensor([-0.])
    """

    def __init__(self, choose: Callable[[Sequence[int]], Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.choose = choose

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Replace the zeros of the result."""
        result = func(*args, **(kwargs or {}))
        return tree_map(self.signed, result) if _computes(func, args) else result

    def signed(self, value: Any) -> Any:
        """Return a float tensor with other signs of its zeros; any other value unchanged."""
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        return torch.where(value == 0, self.choose(value.shape).to(value.dtype), value)


def _computes(func: Any, args: Sequence[Any]) -> bool:
    """Tell whether an operator computes new values from tensors: not a view, not in place, not random."""
    schema = func._schema
    if schema.is_mutable or any(returned.alias_info is not None for returned in schema.returns):
        return False
    if torch.Tag.nondeterministic_seeded in func.tags:
        return False
    return any(isinstance(a, Tensor) or (isinstance(a, (list, tuple)) and _holds_tensor(a)) for a in args)


def _holds_tensor(values: Sequence[Any]) -> bool:
    return any(isinstance(value, Tensor) for value in values)


def _largest(transformed: Tensor, dims: Sequence[int]) -> Tensor:
    """Return the largest magnitude of each transform, in double precision."""
    return transformed.abs().double().amax(list(dims), keepdim=True)


def _magnitude(value: Any) -> Any:
    doubled = _in_double(value)
    return doubled.abs() if doubled is not value and isinstance(doubled, Tensor) else doubled


def _pixels_in_double(value: Any) -> Any:
    is_image = isinstance(value, Tensor) and value.dtype == torch.uint8
    return value.double() if is_image else _in_double(value)


def _in_double(value: Any) -> Any:
    if isinstance(value, Tensor) and value.dtype in (torch.float32, torch.complex64):
        return value.to(torch.complex128 if value.is_complex() else torch.float64)
    return torch.float64 if value is torch.float32 else value
