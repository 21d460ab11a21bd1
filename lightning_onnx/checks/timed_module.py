"""A module that measures itself, as the file does in a runtime."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lightning_onnx.runtimes.base import Arrays


class TimedModule:
    """A module in this process.

    Args:
        module: A module that takes flat tensors.
        names: Names of its inputs, in order.
        tensors: One tensor for each input; the arrays given to ``timed`` are converted to their dtypes.
    """

    def __init__(self, module: nn.Module | Any, names: Sequence[str], tensors: Sequence[Tensor]) -> None:
        self.module = module
        self.dtypes = {name: tensor.dtype for name, tensor in zip(names, tensors, strict=True)}

    def timed(self, inputs: Arrays, calls: int) -> list[float]:
        """Run ``calls`` times without gradients, and return the duration of each call in seconds."""
        tensors = [_tensor(inputs[name], dtype) for name, dtype in self.dtypes.items()]
        seconds = []
        with torch.inference_mode():
            for _ in range(calls):
                started = time.perf_counter()
                self.module(*tensors)
                seconds.append(time.perf_counter() - started)
        return seconds


def _tensor(array: Any, dtype: torch.dtype) -> Tensor:
    # torch does not take numpy's bfloat16
    return torch.from_numpy(array.astype(np.float32)).to(dtype) if dtype == torch.bfloat16 else torch.from_numpy(array)


@contextlib.contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Make torch use ``number`` threads inside the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
