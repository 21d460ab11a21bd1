"""The records that an observer keeps of calls: one for each structure and mode."""

from __future__ import annotations

import collections
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lightning_onnx.module.calls.entries import Entries
from lightning_onnx.module.calls.nested import Slot, Structure, TensorPath
from lightning_onnx.module.calls.observation import KEPT_CALLS, Observation, Shapes
from lightning_onnx.module.calls.outputs import name_others
from lightning_onnx.module.calls.sample import Sample, cpu_copy, shown

_COMPARED_CALLS = 100
"""In how many calls arguments that are not tensors are compared."""

CallKind = tuple[tuple[TensorPath, ...], tuple[tuple[torch.dtype, int], ...], tuple[bool | str | None, ...]]
"""Calls of one kind have the same paths, dtypes and ranks of their tensors, and the same flags."""


class RecordedCalls:
    """All calls of one kind in one mode.

    Args:
        training: Whether the module was in training mode.
        signature: The signature of the method.
        structure: The first call without its tensors.
    """

    def __init__(self, training: bool, signature: inspect.Signature, structure: Structure) -> None:
        self.training = training
        self.signature = signature
        self.samples: list[Sample] = []
        self.shapes: dict[tuple[Shapes, int | None], int] = {}
        self.constants = dict(structure.others)
        self.varied: dict[TensorPath, object] = {}
        self.seen = 0

    def add(
        self, structure: Structure, tensors: list[Tensor], batch_size: int | None, entries: Entries | None = None
    ) -> None:
        """Add a call: its shapes, and for the first few calls its tensors.

        Args:
            structure: The call without its tensors.
            tensors: Its tensors, in flat order.
            batch_size: The loader's batch size; None if unknown.
            entries: The entries of the batch, if they have names that the method's parameters lack.
        """
        self.seen += 1
        shapes = (tuple(tuple(t.shape) for t in tensors), batch_size)
        if shapes not in self.shapes and len(self.samples) < KEPT_CALLS:
            paths = () if entries is None else entries.paths_of(structure, tensors, self.signature)
            self.samples.append(Sample(self.signature, structure, tuple(cpu_copy(t) for t in tensors), paths))
        self.shapes[shapes] = self.shapes.get(shapes, 0) + 1
        if self.seen <= _COMPARED_CALLS:
            self.varied |= _differing(self.constants, structure)

    def observation(self, everything: list[RecordedCalls]) -> Observation:
        """Return these calls, with the shapes of all other calls that have the same tensors."""
        shapes = dict(self.shapes)
        for other in everything:
            for key, count in other.shapes_of(self.samples[0]) if other is not self else ():
                shapes[key] = shapes.get(key, 0) + count
        varied = dict(self.varied)
        paths = self.samples[0].structure.paths
        for other in everything:
            if other.training == self.training and other.samples[0].structure.paths == paths:
                varied |= other.varied | _differing(self.constants, other.samples[0].structure)
        varied |= self._names_varied_in_training(everything)
        places = [(shown(path, self.signature), value) for path, value in varied.items()]
        mode = "training" if self.training else "evaluation"
        return Observation(
            tuple(self.samples),
            tuple(shapes),
            f"a call seen in {mode} mode",
            ran_in_eval_mode=not self.training,
            counts=tuple(shapes.values()),
            varied=name_others(places, "input"),
            lacking=self._lacking(everything),
            others_have=self._others_have(everything),
        )

    def _names_varied_in_training(self, everything: list[RecordedCalls]) -> dict[TensorPath, object]:
        """Return the strings that had several values in training, if these calls were in eval mode.

        Numbers and flags are left out: they are often a schedule, and those of eval mode are the ones that count.
        """
        if self.training:
            return {}
        calls = [other for other in everything if other.training]
        varied = {
            path: value
            for one in calls
            for other in calls
            for path, value in _differing(one.constants, other.samples[0].structure).items()
        }
        return {path: self.constants[path] for path in varied if isinstance(self.constants.get(path), str)}

    def _lacking(self, everything: list[RecordedCalls]) -> tuple[tuple[TensorPath, int], ...]:
        """Return the tensors that other calls lacked, each with the number of these calls."""
        sample = self.samples[0]
        counts = [
            sum(other.seen for other in everything if path not in other.samples[0].structure.paths)
            for path in sample.structure.paths
        ]
        return tuple((path, count) for path, count in zip(sample.paths, counts, strict=True) if count)

    def _others_have(self, everything: list[RecordedCalls]) -> tuple[tuple[TensorPath, int], ...]:
        """Return the tensors that only other calls of this mode had, each with the number of these calls.

        Calls in training mode often have more than those in eval mode, such as targets: these are not missed.
        """
        own = set(self.samples[0].paths)
        counts: collections.Counter[TensorPath] = collections.Counter()
        for other in everything:
            if other.training == self.training:
                counts.update({path: other.seen for path in other.samples[0].paths if path not in own})
        return tuple(counts.items())

    def shapes_of(self, sample: Sample) -> list[tuple[tuple[Shapes, int | None], int]]:
        """Return the shapes of ``sample``'s tensors in these calls, counted; none if one is missing or has a new rank.

        Calls in training mode often have more arguments (targets) and show which dims of the shared ones vary.
        """
        paths = self.samples[0].structure.paths
        if not set(sample.structure.paths) <= set(paths):
            return []
        places = [paths.index(p) for p in sample.structure.paths]
        ranks = [t.dim() for t in sample.tensors]
        found = [((tuple(shapes[i] for i in places), size), count) for (shapes, size), count in self.shapes.items()]
        return [(key, count) for key, count in found if [len(s) for s in key[0]] == ranks]


def kind_of(structure: Structure, tensors: list[Tensor]) -> CallKind:
    """Return the kind of a call, regardless of the values of its numbers."""
    return structure.paths, tuple((t.dtype, t.dim()) for t in tensors), tuple(_flags(structure))


def _differing(constants: Mapping[TensorPath, object], structure: Structure) -> dict[TensorPath, object]:
    """Return the flags, numbers and strings of a call that have other values in another one."""
    return {
        path: value
        for path, value in structure.others
        if path in constants and isinstance(value, (bool, int, float, str)) and constants[path] != value
    }


def _flags(structure: Structure) -> list[bool | str | None]:
    """Return flags and keys, without numbers and strings in containers (such as file names)."""
    flags: list[bool | str | None] = []
    arguments = list(structure.skeleton.values())
    flags.extend(a for a in arguments if isinstance(a, str))  # such as a mode; strings inside containers are data
    pending: list[Any] = [a for a in arguments if not isinstance(a, str)]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            flags.extend(str(k) for k, v in value.items() if not isinstance(v, Slot))
            pending.extend(value.values())
        elif isinstance(value, (list, tuple)):
            pending.extend(value)
        elif isinstance(value, (bool, type(None))):
            flags.append(value)
    return flags
