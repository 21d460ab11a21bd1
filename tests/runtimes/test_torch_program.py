"""The inputs of a program go by name."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from lightning_onnx.runtimes.torch_program import TorchSession


class Divided(nn.Module):
    def forward(self, numerator: Tensor, divisor: Tensor) -> tuple[Tensor]:
        return (torch.div(numerator, divisor),)


def test_the_order_of_the_inputs_is_that_of_the_file() -> None:
    session = TorchSession(Divided(), ["numerator", "divisor"], ["y"])
    numerator, divisor = np.float32([6.0]), np.float32([3.0])
    for inputs in ({"numerator": numerator, "divisor": divisor}, {"divisor": divisor, "numerator": numerator}):
        np.testing.assert_array_equal(session.run(inputs)["y"], [2.0])
