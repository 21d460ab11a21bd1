"""The module as the engines see it: flat tensors in, flat tensors out."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_onnx.module.calls.nested import flatten
from lightning_onnx.module.calls.outputs import Outputs
from lightning_onnx.module.calls.sample import Sample
from lightning_onnx.module.random_state import random_states, random_states_kept
from lightning_onnx.module.rounding import TiesReversed

PREFIX = "module."
"""What the wrapper puts before the names of parameters and scopes; taken off again in the graph."""


class FlatModule(nn.Module):
    """Calls one method of a module with a sample's arguments, the tensors given as a flat list.

    Args:
        module: The module.
        method: Name of the method; ``forward`` runs with the module's hooks.
        sample: The call whose flags, numbers and nesting are used.
        draws: Whether it draws random numbers; if so, the random state, which all threads share, is kept.
    """

    def __init__(self, module: nn.Module, method: str, sample: Sample, is_stochastic: bool = True) -> None:
        super().__init__()
        self.module = module
        self.method = method
        self.sample = sample
        self.is_stochastic = is_stochastic
        self.training = False  # an exporter restores the wrapper's mode, on the module as well

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of the method's result; other values in it are left out."""
        args, kwargs = self.sample.arguments(tensors)
        bound = self.module if self.method == "forward" else getattr(self.module, self.method)
        return tuple(flatten(bound(*args, **kwargs), opaque=True)[1])

    def reference(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors of ``outputs``."""
        return list(self.outputs(tensors).tensors)

    def outputs(self, tensors: Sequence[Tensor]) -> Outputs:
        """Run without gradients on copies of ``tensors`` (a module may write into its inputs), random state kept."""
        with torch.no_grad(), self.random_state_kept():
            args, kwargs = self.sample.arguments([t.clone() for t in tensors])
            bound = self.module if self.method == "forward" else getattr(self.module, self.method)
            structure, outputs = flatten(bound(*args, **kwargs), opaque=True)
            return Outputs(tuple(t.detach().clone() for t in outputs), tuple(structure.paths))

    def perturbed(self, tensors: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
        """Run as ``reference`` does, on what rounding makes of inputs and parameters, with ties reversed.

        Args:
            tensors: The inputs.
            seed: Chooses one of many ways to round.
        """
        generator = torch.Generator().manual_seed(seed)
        parameters = {name: perturb(p, generator) for name, p in self.named_parameters()}
        with torch.no_grad(), self.random_state_kept(), TiesReversed():  # type: ignore[no-untyped-call]
            outputs = torch.func.functional_call(self, parameters, tuple(perturb(t, generator) for t in tensors))
        return [t.detach() for t in outputs]

    def draws_random_numbers(self, tensors: Sequence[Tensor]) -> bool:
        """Tell whether a call draws random numbers, of torch, of numpy or of Python."""
        with random_states_kept(include_cuda=False), torch.no_grad():
            before = random_states()
            self(*(t.clone() for t in tensors))
            return before != random_states()

    def random_state_kept(self) -> contextlib.AbstractContextManager[None]:
        """Keep the random state where the method draws; where it does not, another thread's is left alone."""
        return random_states_kept(include_cuda=False) if self.is_stochastic else contextlib.nullcontext()


def perturb(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Change floats by up to four units in the last place, which is less than a network's own rounding."""
    if not tensor.is_floating_point():
        return tensor.clone()
    noise = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) * 2 - 1
    return tensor * (1 + 4 * torch.finfo(tensor.dtype).eps * noise)
