"""Computes convolutions with one group per image of the batch, each with its own kernel, as matrix products."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from lightning_onnx.tracing.rules.convolutions import Size, each


def by_groups(original: Callable[..., Tensor], dims: int) -> Callable[..., Tensor]:
    """Return a convolution that also accepts a symbolic number of groups.

    Args:
        original: Torch's convolution, used for a constant number of groups.
        dims: Number of dims of the images, 1 or 2.
    """

    def convolution(
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Size = 1,
        padding: Size | str = 0,
        dilation: Size = 1,
        groups: int | torch.SymInt = 1,
    ) -> Tensor:
        if not isinstance(groups, torch.SymInt) or input.dim() != dims + 2:
            return original(input, weight, bias, stride, padding, dilation, groups)
        steps, distances = each(stride, dims), each(dilation, dims)
        if isinstance(padding, str):
            input, padding = _same(input, weight, distances) if padding == "same" else input, 0
        margins = each(padding, dims)
        if dims == 1:  # as an image with one row
            steps, distances, margins = [1, *steps], [1, *distances], [0, *margins]
            input, weight = input.unsqueeze(2), weight.unsqueeze(2)
        found = _convolved(input, weight, steps, margins, distances, groups)
        found = found.squeeze(2) if dims == 1 else found
        return found if bias is None else found + bias.reshape(-1, *[1] * dims)

    return convolution


def _same(input: Tensor, weight: Tensor, distances: Sequence[int]) -> Tensor:
    """Pad so that the result has the input's size; an odd padding has its larger part at the end."""
    totals = [d * (k - 1) for d, k in zip(distances, weight.shape[2:], strict=True)]
    return functional.pad(input, [n for total in reversed(totals) for n in (total // 2, total - total // 2)])


def _convolved(
    images: Tensor,
    weight: Tensor,
    steps: Sequence[int],
    margins: Sequence[int],
    distances: Sequence[int],
    groups: torch.SymInt,
) -> Tensor:
    """Multiply the kernels with the input patches, ``[batch, groups, weights, places]``."""
    kernel = list(weight.shape[2:])
    shape = [
        (size + 2 * margin - distance * (k - 1) - 1) // step + 1
        for size, k, step, margin, distance in zip(images.shape[2:], kernel, steps, margins, distances, strict=True)
    ]
    seen = functional.unfold(images, tuple(kernel), tuple(distances), tuple(margins), tuple(steps))
    weights = weight.shape[1] * kernel[0] * kernel[1]
    products = weight.reshape(groups, -1, weights) @ seen.reshape(seen.shape[0], groups, weights, -1)
    return products.reshape(images.shape[0], weight.shape[0], *shape)
