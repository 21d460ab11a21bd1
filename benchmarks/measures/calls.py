"""What recording a call costs the training, after so many recorded calls."""

from __future__ import annotations

import timeit
from typing import Any

import torch
from kit import quiet, tell
from torch import nn

try:
    from lightning_onnx.module.calls.observer import ForwardObserver
except ImportError:  # 0.1.0
    from lightning_onnx.observe import ForwardObserver


class Takes(nn.Module):
    """A typical call of a Hugging Face module."""

    def forward(self, **inputs: Any) -> Any:
        """Return the ids."""
        return inputs["input_ids"]


def main() -> None:
    """Print the microseconds of a call beyond those of a plain one; lengths vary from call to call."""
    module = Takes()
    names = ("input_ids", "attention_mask", "token_type_ids", "labels")
    batches = [{name: torch.zeros(8, length) for name in names} for length in range(16, 128)]

    def call(number: int = 1) -> None:
        for i in range(number):
            module(**batches[i % len(batches)])

    def microseconds() -> float:
        return min(timeit.repeat(lambda: call(112), number=1, repeat=7)) / 112 * 1e6

    plain = microseconds()
    found = {}
    for name, number in (("1", 1), ("100", 100), ("10,000", 10_000)):
        observer = ForwardObserver(module)
        observer.attach()
        call(number)
        found[name] = microseconds() - plain
        observer.detach()
    tell(found)


if __name__ == "__main__":
    quiet()
    main()
