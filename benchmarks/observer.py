"""Measures the cost of recording calls in training: ``python benchmarks/observer.py`` (the limit is 50 µs per call)."""

from __future__ import annotations

import timeit
from typing import Any

import torch
from torch import nn

from lightning_onnx.module.calls.observer import ForwardObserver


class Takes(nn.Module):
    """A typical call of a Hugging Face module."""

    def forward(self, **inputs: Any) -> Any:
        """Return the ids."""
        return inputs["input_ids"]


def main() -> None:
    """Print the cost of a call with and without recording, and their difference."""
    module = Takes()
    batch = {name: torch.zeros(8, 128) for name in ("input_ids", "attention_mask", "token_type_ids", "labels")}

    def best() -> float:
        return min(timeit.repeat(lambda: module(**batch), number=1000, repeat=7)) / 1000 * 1e6

    plain = best()
    observer = ForwardObserver(module)
    observer.attach()
    recorded = best()
    observer.detach()
    print(f"plain call {plain:.1f} µs, recorded {recorded:.1f} µs, recording {recorded - plain:.1f} µs")


if __name__ == "__main__":
    main()
