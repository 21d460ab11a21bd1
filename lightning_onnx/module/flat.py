"""The module as the engines see it: flat tensors in, flat tensors out."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lightning_onnx.module.autocast import autocast_off
from lightning_onnx.module.call_state import CallState
from lightning_onnx.module.calls.nested import flatten_result
from lightning_onnx.module.calls.outputs import Outputs, outputs_of
from lightning_onnx.module.calls.sample import Sample
from lightning_onnx.module.fake_quantization import stop_observing
from lightning_onnx.module.loops import LoopLimit
from lightning_onnx.module.perturbation import PerturbedWeights, perturb
from lightning_onnx.module.random_state import advance, random_states_kept, random_states_kept_by_call
from lightning_onnx.module.reads import tensors_read
from lightning_onnx.module.rounding import Rounded, TiesReversed, ZeroSigns
from lightning_onnx.module.saved import Place
from lightning_onnx.profile import measured

PREFIX = "module."
"""The wrapper's prefix of parameter and scope names; removed in the graph."""


_Way = Literal["outside", "inside", "ties", "nearest", "nearest, ties", "negative zeros", "zeros", "mixed zeros"]
_WAYS: tuple[_Way, ...] = (
    "outside",
    "outside",
    "inside",
    "inside",
    "ties",
    "nearest",
    "nearest, ties",
    "negative zeros",
    "zeros",
    "mixed zeros",
)
WAYS = len(_WAYS)
"""Ways in which ``FlatModule.perturbed`` changes a run."""
TIES = _WAYS.index("ties")
"""The way that changes nothing but the order of equal values."""
FURTHER = tuple(seed for seed in range(WAYS, 5 * WAYS) if _WAYS[seed % WAYS] == "inside")
"""Seeds that round the results of operators in other ways: a choice between two equal results falls alike in all of
these once in 256 times."""


class FlatModule(nn.Module):
    """Calls one method of a module with a sample's arguments, the tensors given as a flat list.

    Args:
        module: The module.
        method: Name of the method; ``forward`` runs with the module's hooks.
        sample: The call whose flags, numbers and nesting are used.
        is_stochastic: Whether the method may draw random numbers; only then is the random state, which all threads
            share, saved and restored.
        is_concurrent: Whether training continues meanwhile; then variables outside of the module are left alone.
    """

    def __init__(
        self,
        module: nn.Module,
        method: str,
        sample: Sample,
        is_stochastic: bool = True,
        *,
        is_concurrent: bool = False,
    ) -> None:
        super().__init__()
        stop_observing(module)
        self.module = module
        self.method = method
        self.sample = sample
        self.is_stochastic = is_stochastic
        self._draws_shared = False
        self.call_state = CallState(module, method, is_concurrent=is_concurrent)
        self.loops = LoopLimit()
        self.training = False  # an exporter restores the mode of the wrapper, and with it the module's

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors of the method's result, without its other values."""
        if torch.compiler.is_dynamo_compiling():  # Dynamo reads the code, and undoes its side effects itself
            return tuple(flatten_result(self._call(tensors))[1])
        with self.call_state.kept_in_trace(tensors=False):
            return tuple(flatten_result(self._call(tensors))[1])

    def _call(self, tensors: Sequence[Tensor]) -> Any:
        args, kwargs = self.sample.arguments(tensors)
        bound = self.module if self.method == "forward" else getattr(self.module, self.method)
        return bound(*args, **kwargs)

    def reference(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Return the tensors of ``outputs``."""
        return list(self.outputs(tensors).tensors)

    def outputs(self, tensors: Sequence[Tensor]) -> Outputs:
        """Run without gradients, and on copies of ``tensors``, because a module may write into its inputs.

        Raises:
            EndlessLoop: If a loop of the method does not end on these values. Other exceptions are the module's own.
        """
        with measured("running the module"), self.call_state.kept():
            return self._outputs(tensors)

    def _outputs(self, tensors: Sequence[Tensor]) -> Outputs:
        with torch.no_grad(), self.random_state_kept(), autocast_off(), self.loops.of_call(tensors):
            outputs = outputs_of(self._call([t.clone() for t in tensors]))
            return dataclasses.replace(outputs, tensors=tuple(t.detach().clone() for t in outputs.tensors))

    def perturbed(self, tensors: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
        """Run like ``reference``, with the differences that another program may have (see ``module.rounding``).

        Either inputs and parameters change by rounding errors, with ties reversed; or the results of operators change
        as well; or only ties are reversed; or each operator rounds correctly; or zeros have other signs.

        Args:
            tensors: The inputs.
            seed: Chooses one of many changes; the first seeds go through all ``WAYS``.
        """
        generator = torch.Generator().manual_seed(seed)
        way = _WAYS[seed % WAYS]
        with (
            measured("running the module"),
            self.call_state.kept_in_trace(tensors=True),
            torch.no_grad(),
            self.random_state_kept(),
            contextlib.ExitStack() as modes,
        ):
            modes.enter_context(autocast_off())
            modes.enter_context(self.loops.of_call(tensors))
            if way in ("outside", "inside"):
                tensors = [perturb(t, (seed, 0, number)) for number, t in enumerate(tensors)]
            if way in ("inside", "nearest", "nearest, ties"):
                modes.enter_context(Rounded(generator if way == "inside" else None))
            if way in ("outside", "inside", "ties", "nearest, ties"):  # last: it does not see what Rounded computes
                modes.enter_context(TiesReversed())  # type: ignore[no-untyped-call]
            if way in ("outside", "inside"):
                modes.enter_context(PerturbedWeights(self.parameters(), seed))
            if way in _ZEROS:
                signs = modes.enter_context(ZeroSigns(_ZEROS[way](generator)))
                tensors = [signs.signed(t) for t in tensors]
            outputs = self(*(t.clone() for t in tensors))
        return [t.detach() for t in outputs]

    def untouched(self, tensors: Sequence[Tensor]) -> tuple[int, ...]:
        """Return the indices of the inputs that a call neither reads nor returns: no value, shape or other attribute.

        Args:
            tensors: Inputs that the module takes.
        """
        given = [t.clone() for t in tensors]
        with self.call_state.kept(), torch.no_grad(), self.random_state_kept(), autocast_off(), tensors_read() as read:
            result = self._call(given)
        used = read | {id(tensor) for tensor in flatten_result(result)[1]}
        return tuple(i for i, tensor in enumerate(given) if id(tensor) not in used)

    @property
    def has_drawn(self) -> bool:
        """Whether a call has drawn random numbers: from torch, numpy, Python or a generator of the module's own."""
        return self._draws_shared or bool(self.call_state.drawn)

    def redrawn(self, tensors: Sequence[Tensor], times: int = 1) -> list[Tensor]:
        """Run like ``reference``, with other random numbers; without any, the results are the same.

        Args:
            tensors: The inputs.
            times: How many numbers are drawn before; chooses one of many runs.
        """
        with measured("running the module"), self.call_state.kept(), random_states_kept(include_cuda=False):
            for _ in range(times):
                advance(self.call_state.drawn)
            return list(self._outputs(tensors).tensors)

    def state_between_calls(self, tensors: Sequence[Tensor], first: Outputs) -> tuple[Place, ...]:
        """Return the attributes through which a call changes the result of the next one; empty if there are none.

        Args:
            tensors: Inputs.
            first: The outputs on them.
        """
        if not self.call_state.written:
            return ()
        with self.call_state.kept():
            try:
                self._outputs(tensors)
                second = self._outputs(tensors)
            except Exception:  # a second call that fails depends on the first one, too
                return tuple(sorted(self.call_state.written))
        is_same = len(first.tensors) == len(second.tensors) and all(
            a.shape == b.shape and torch.equal(torch.nan_to_num(a), torch.nan_to_num(b))
            for a, b in zip(first.tensors, second.tensors, strict=True)
        )
        return () if is_same else tuple(sorted(self.call_state.written))

    @contextlib.contextmanager
    def random_state_kept(self) -> Iterator[None]:
        """Restore the random state afterwards if the method may draw; otherwise other threads keep theirs."""
        if not self.is_stochastic:
            yield
            return
        with random_states_kept_by_call() as draws:
            yield
        self._draws_shared |= draws.has_drawn


_ZEROS: dict[_Way, Callable[[torch.Generator], Callable[[Sequence[int]], Tensor]]] = {
    "negative zeros": lambda generator: lambda shape: -torch.zeros(list(shape)),
    "zeros": lambda generator: lambda shape: torch.zeros(list(shape)),
    "mixed zeros": lambda generator: (
        lambda shape: torch.zeros(list(shape)) * (torch.rand(list(shape), generator=generator) - 0.5)
    ),
}
"""Functions that make zeros of a given shape."""
