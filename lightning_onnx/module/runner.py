"""Calls the module on flat tensors, and finds an observed call that it takes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lightning_onnx.errors import NotReadyError, SampleError
from lightning_onnx.module.arrays import Content, content_of
from lightning_onnx.module.calls.batch_dim import few_rows
from lightning_onnx.module.calls.observation import Observation, Shapes
from lightning_onnx.module.calls.outputs import Outputs
from lightning_onnx.module.excluded import (
    EXCLUDED_BY_DEFAULT,
    are_sequences,
    changed_without,
    names_of,
    without_excluded,
)
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.flops import FlopCounter, flops
from lightning_onnx.module.saved import Place
from lightning_onnx.module.user_code import with_line

_GIVE_A_CALL = (
    " Give the arguments of one call: sample=(...) to the callback, example_input_array to the module, or args and "
    "kwargs to export()."
)

_GIVE_BATCHES = (
    " Give a loader with batches that the method takes (--data MODULE:NAME): a dict is matched by the names of the "
    "parameters, other batches by order."
)

_Key = tuple[Content, ...]
"""What each tensor holds."""


class Runner:
    """Calls the module on flat tensors; on the same tensors only once.

    Args:
        flat: The module.
    """

    def __init__(self, flat: FlatModule) -> None:
        self.flat = flat
        self._flops: dict[tuple[torch.Size, ...], float] = {}
        self._known: dict[_Key, Outputs] = {}
        self._perturbed: dict[tuple[_Key, int], list[Tensor]] = {}
        self._between_calls: dict[_Key, tuple[Place, ...]] = {}

    def __call__(self, tensors: Sequence[Tensor]) -> Outputs | None:
        """Return the outputs on flat tensors; None if the module does not take them."""
        outcome = self.outputs_or_error(tensors)
        return outcome if isinstance(outcome, Outputs) else None

    def outputs_or_error(self, tensors: Sequence[Tensor]) -> Outputs | Exception:
        """Return the outputs on flat tensors, or the module's exception."""
        key = _key(tensors)
        if key not in self._known:
            try:
                self._known[key] = self._outputs(tensors)
            except Exception as error:  # a module may refuse a size with any exception
                return error
        return self._known[key]

    def _outputs(self, tensors: Sequence[Tensor]) -> Outputs:
        """Run the module; the operations of the first call are counted, because they will be asked for."""
        counter = FlopCounter()
        if not self._flops:
            with contextlib.suppress(Exception), counter:  # a module may not run while they are counted
                outputs = self.flat.outputs(tensors)
                self._flops[_shapes(tensors)] = counter.total
                return outputs
        return self.flat.outputs(tensors)

    def perturbed(self, tensors: Sequence[Tensor], seed: int = 0) -> list[Tensor]:
        """Return the outputs with harmless changes: see ``FlatModule.perturbed``."""
        key = _key(tensors), seed
        if key not in self._perturbed:
            self._perturbed[key] = self.flat.perturbed(tensors, seed)
        return self._perturbed[key]

    def state_between_calls(self, tensors: Sequence[Tensor]) -> tuple[Place, ...]:
        """Return the attributes through which a call changes the result of the next one; empty if there are none.

        Args:
            tensors: Inputs that the module takes.
        """
        key = _key(tensors)
        if key not in self._between_calls:
            first = self(tensors)
            self._between_calls[key] = () if first is None else self.flat.state_between_calls(tensors, first)
        return self._between_calls[key]

    def flops(self, tensors: Sequence[Tensor]) -> float:
        """Return the floating point operations of a call, counted once for inputs of the same shapes."""
        shapes = _shapes(tensors)
        if shapes not in self._flops:
            self._flops[shapes] = flops(self.flat, tensors)
        return self._flops[shapes]


def _shapes(tensors: Sequence[Tensor]) -> tuple[torch.Size, ...]:
    return tuple(t.shape for t in tensors)


def _key(tensors: Sequence[Tensor]) -> _Key:
    return tuple(map(content_of, tensors))


def first_that_runs(
    module: nn.Module,
    method: str,
    observations: Sequence[Observation],
    exclude_inputs: Sequence[str] = (),
    named: str | None = None,
) -> tuple[Observation, Runner]:
    """Return the first observation whose call the module takes, and the runner of the module.

    Args:
        module: The module.
        method: Name of the method.
        observations: Ways in which it is called, best first.
        exclude_inputs: Names of inputs, such as labels, to leave out if the module works without them. Sequences of
            labels that nobody named stay where outputs depend on them.
        named: What the user calls the method, if it has another name.

    Raises:
        SampleError: If none of them has a tensor, or the module takes none although it ran in eval mode in training.
        NotReadyError: If the module takes none of them and has not been seen to run in eval mode.
    """
    refused: list[tuple[str, Exception]] = []
    for observation in observations:
        if not any(sample.tensors for sample in observation.samples):
            refused.append((observation.source, TypeError(f"no tensor among the arguments{_kinds(observation)}")))
            continue
        observation = _as_reference(observation)
        without = without_excluded(observation, exclude_inputs)
        if without is not None:
            run = _runner_of(module, method, without)
            if isinstance(run, Exception):
                refused.append((without.source, run))
            else:
                changed = _changed(observation, without, run)
                if not changed:
                    return without, run
                names, others = ", ".join(names_of(observation, exclude_inputs)), ", ".join(changed)
                if tuple(exclude_inputs) != EXCLUDED_BY_DEFAULT or not are_sequences(observation, exclude_inputs):
                    note = f"without {names}, which exclude_inputs leaves out, the module has other values of {others}"
                    return dataclasses.replace(without, notes=(*without.notes, note)), run
                remark = f"{names} stays an input: without it, the module has other values of {others}"
                observation = dataclasses.replace(observation, remarks=(*observation.remarks, remark))
        run = _runner_of(module, method, observation)
        if not isinstance(run, Exception):
            return observation, run
        refused.append((observation.source, run))
    raise _refusal(f"{type(module).__name__}.{named or method}", observations, refused)


def _runner_of(module: nn.Module, method: str, observation: Observation) -> Runner | Exception:
    """Return the runner of a module that takes the observed call, or why it does not."""
    run = Runner(FlatModule(module, method, observation.samples[0]))
    if run(few_rows(observation)) is not None:
        return run
    outcome = run.outputs_or_error(observation.samples[0].tensors)
    return outcome if isinstance(outcome, Exception) else run


def _refusal(name: str, observations: Sequence[Observation], refused: Sequence[tuple[str, Exception]]) -> SampleError:
    """Return the error for a method that takes none of the observed calls, with its first cause."""
    tried = "; ".join(dict.fromkeys(f"{source} ({with_line(error)})" for source, error in refused))
    given = next((o for o in observations if o.is_given), None)
    if given is not None and given.ran_in_eval_mode and refused:
        made = _refusal_of_sample(name, given, refused[0][1])
    elif any(o.ran_in_eval_mode for o in observations):
        made = SampleError(
            f"{name} ran in eval mode during training, but does not run on a copy of the module, on the CPU and in "
            f"float32. Tried: {tried}. Make the method independent of the device and the precision."
        )
    elif any(sample.tensors for o in observations for sample in o.samples):
        if given is not None and len(refused) == 1:
            made = _failed_on(name, given, refused[0][1])
        else:
            advice = _advice(observations) if any(o.is_guess for o in observations) else ""
            made = NotReadyError(f"{name} does not run in eval mode. Tried: {tried}.{advice}")
    else:
        made = SampleError(
            f"no call of {name} has tensors. Tried: {tried or 'nothing was seen'}.{_advice(observations)}"
        )
    made.__cause__ = refused[0][1] if refused else None
    return made


def _refusal_of_sample(name: str, given: Observation, error: Exception) -> SampleError:
    """Return the error for a sample that the method does not take, although it ran in eval mode in training."""
    own, *others = [shapes for shapes, _ in given.shapes]
    seen = f" In training it got {_sizes(given, others[0])}." if others else ""
    return SampleError(
        f"{name} does not take the given sample, {_sizes(given, own)} ({with_line(error)}).{seen} Give the "
        "arguments of one call, with the batch as their first dim: sample=(...)."
    )


def _failed_on(name: str, given: Observation, error: Exception) -> NotReadyError:
    """Return the error for a call that the user gave, of a method that nobody has seen to run in eval mode."""
    return NotReadyError(
        f"{name} fails on {given.source}, {_sizes(given, given.shapes[0][0])}: {with_line(error)}. It was called in "
        "eval mode on the CPU. Correct the arguments, or the module if it does not run in eval mode."
    )


def _kinds(observation: Observation) -> str:
    """Return the classes of arguments that are no tensors."""
    found = dict.fromkeys(type(value).__name__ for sample in observation.samples for _, value in sample.others)
    return f", only {', '.join(found)}: a graph takes tensors" if found else ""


def _sizes(observation: Observation, shapes: Shapes) -> str:
    names = (".".join(path) for path in observation.samples[0].paths)
    return ", ".join(f"{name} {list(shape)}" for name, shape in zip(names, shapes, strict=True))


def _advice(observations: Sequence[Observation]) -> str:
    """Return what to do: the command line takes a loader, and nothing else."""
    return _GIVE_BATCHES if any(o.origin == "data" for o in observations) else _GIVE_A_CALL


def _as_reference(observation: Observation) -> Observation:
    """Return the observation with half precision converted to float32, the precision of the reference."""
    half = (torch.float16, torch.bfloat16)
    samples = tuple(
        dataclasses.replace(s, tensors=tuple(t.float() if t.dtype in half else t for t in s.tensors))
        for s in observation.samples
    )
    return dataclasses.replace(observation, samples=samples)


def _changed(everything: Observation, without: Observation, run: Runner) -> list[str]:
    """Return the names of the outputs that are others without the excluded inputs; none where nothing decides it.

    Args:
        everything: The call with all inputs.
        without: The call without them.
        run: Runs the module without them.
    """
    if run.flat.has_drawn:
        return []
    rows = few_rows(everything)
    kept = [everything.samples[0].paths.index(path) for path in without.samples[0].paths]
    run_all = Runner(FlatModule(run.flat.module, run.flat.method, everything.samples[0]))
    others = [row if i in kept else row.flip(tuple(range(row.dim()))) for i, row in enumerate(rows)]
    with_all, with_others, alone = run_all(rows), run_all(others), run([rows[i] for i in kept])
    if with_all is None or with_others is None or alone is None:
        return []
    return changed_without(with_all, with_others, alone)
