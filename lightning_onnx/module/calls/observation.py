"""One way in which the exported method is called."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from typing import Literal

from lightning_onnx.module.calls.nested import TensorPath
from lightning_onnx.module.calls.sample import Sample

Shapes = tuple[tuple[int, ...], ...]
"""The shapes of one call's tensors, in flat order."""

Origin = Literal["training", "data", "sample"]
"""Who chose the sizes of calls: the training's loops, the batches of a loader without a training, or one given call."""

KEPT_CALLS = 3
"""Number of calls per structure whose tensors are kept: enough to check a module at several real sizes."""


@dataclasses.dataclass(frozen=True)
class Observation:
    """One way in which the method is called.

    Attributes:
        samples: Calls with their tensors; the graph is traced with the first one.
        shapes: The tensors' shapes in every observed call, each with the loader's batch size at that time, if known.
        source: Where the calls come from, for messages and the manifest.
        notes: What the user should know about them.
        remarks: Notes that surprise nobody: they go into the manifest without a warning.
        is_guess: Whether nobody made this call: it is a batch matched to the method's signature.
        is_given: Whether the user gave the call; the first of ``shapes`` is its own, the others are of similar calls.
        ran_in_eval_mode: Whether the training loop has called the method in eval mode, so that it can run there.
        counts: How many calls had each of ``shapes``; 0 for shapes that were only tried; empty if one each.
        origin: Who chose the sizes of the counted calls.
        varied: Arguments that are no tensors and had several values in calls of this mode (strings also in those of
            training), each with its type.
        lacking: Tensors that other calls lacked, each with the number of these calls.
        others_have: Tensors that only other calls of this mode had, each with the number of these calls.
    """

    samples: tuple[Sample, ...]
    shapes: tuple[tuple[Shapes, int | None], ...]
    source: str
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    is_guess: bool = False
    is_given: bool = False
    ran_in_eval_mode: bool = False
    counts: tuple[int, ...] = ()
    origin: Origin = "training"
    varied: tuple[str, ...] = ()
    lacking: tuple[tuple[TensorPath, int], ...] = ()
    others_have: tuple[tuple[TensorPath, int], ...] = ()

    def counted(self) -> Iterator[tuple[Shapes, int]]:
        """Yield the shapes of the observed calls, each with the number of calls that had them."""
        counts = self.counts or (1,) * len(self.shapes)
        yield from ((shapes, count) for (shapes, _), count in zip(self.shapes, counts, strict=True) if count)

    def with_constants(self, places: Collection[int]) -> Observation:
        """Return the same calls with the tensors at ``places`` (indices in flat order) as constants."""
        samples = tuple(s.with_constants(places) for s in self.samples)
        shapes = tuple((tuple(s for i, s in enumerate(all_) if i not in places), size) for all_, size in self.shapes)
        return dataclasses.replace(self, samples=samples, shapes=shapes)

    @classmethod
    def of(cls, sample: Sample, source: str, batch_size: int | None = None) -> Observation:
        """Make an observation of a single call that was given."""
        shapes = tuple(tuple(t.shape) for t in sample.tensors)
        return cls((sample,), ((shapes, batch_size),), source, origin="sample")
