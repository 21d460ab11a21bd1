"""Functions of torchvision's detectors that decide by the number of boxes, convert sizes to numbers, or round them."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from lightning_onnx.module.tracing_thread import in_tracing_thread
from lightning_onnx.tracing.patches.patch import Patch


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Return the boxes that non-maximum suppression within each class keeps, see ``torchvision.ops.batched_nms``.

    torchvision chooses between two algorithms by the number of boxes, which a trace does not know. This is the one that
    moves the boxes of each class to a region of their own. The zero is the largest coordinate where there are no boxes.
    """
    largest = torch.cat([boxes.reshape(-1), boxes.new_zeros(1)]).max()
    moved = boxes + (idxs.to(boxes) * (largest + 1))[:, None]
    kept: Tensor = torch.ops.torchvision.nms(moved, scores, iou_threshold)
    return kept


def _called_by_name(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """Has the code that torchvision's function gets, and so its globals: it imports what it needs."""
    from lightning_onnx.tracing.patches import torchvision

    return torchvision.current(boxes, scores, idxs, iou_threshold)


current: Callable[..., Tensor] = batched_nms
"""What torchvision's function does while its code is replaced."""


@contextlib.contextmanager
def replaced_code(patch: Patch) -> Iterator[None]:
    """Replace the code of a function, which modules may have imported by its name."""
    global current
    function: Any = patch.find_owner()
    if function is None or function.__code__ is _called_by_name.__code__:
        yield
        return
    code = function.__code__
    original = FunctionType(code, function.__globals__, function.__name__, function.__defaults__)
    current = in_tracing_thread(original, batched_nms)
    function.__code__ = _called_by_name.__code__
    try:
        yield
    finally:
        function.__code__ = code


def resize_image(
    image: Tensor,
    self_min_size: int,
    self_max_size: int,
    target: dict[str, Tensor] | None = None,
    fixed_size: tuple[int, int] | None = None,
) -> tuple[Tensor, dict[str, Tensor] | None]:
    """Resize as the transform does in eval mode, which does not change targets.

    When traced by TorchScript, torchvision computes the scale in single precision, and the size is off by one for three
    images in a hundred. The parameters have torchvision's names.
    """
    size: Any
    if fixed_size is not None:
        size = [fixed_size[1], fixed_size[0]]
    elif torch._C._get_tracing_state():
        sides = torch._shape_as_tensor(image)[-2:].to(torch.float64)
        limits = torch.tensor([self_min_size, self_max_size], dtype=torch.float64)  # of one dim: scalars become single
        scale = (limits / torch.stack([sides.min(), sides.max()])).min(0, keepdim=True).values
        size = list((sides * scale).floor().to(torch.int64))
    else:
        height, width = image.shape[-2:]
        shorter, longer = torch.sym_min(height, width), torch.sym_max(height, width)
        factor: Any = torch.sym_min(self_min_size / shorter, self_max_size / longer)
        size = [math.floor(height * factor), math.floor(width * factor)]
    return functional.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0], target


def batch_images(self: Any, images: list[Tensor], size_divisible: int = 32) -> Tensor:
    """Pad images to one size and stack them; torchvision converts their sizes to Python numbers."""
    if torch._C._get_tracing_state():
        stacked: Tensor = self._onnx_batch_images(images, size_divisible)
        return stacked
    height, width = (
        (functools.reduce(_largest, [image.shape[d] for image in images]) + size_divisible - 1)
        // size_divisible
        * size_divisible
        for d in (1, 2)
    )
    return torch.stack(
        [functional.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images]
    )


def _largest(a: int, b: int) -> int:
    found: int = torch.sym_max(a, b)  # type: ignore[assignment]  # torch types sizes as int
    return found
