"""How answers relate to targets over the batches of a validation loop: a confusion matrix, or residuals."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_onnx.manifest.answers import Answers, Residuals
from lightning_onnx.module.calls.nested import TensorPath, flatten
from lightning_onnx.module.calls.sample import Sample

MOST_CLASSES = 30
"""Classes of a matrix that can be read."""

_MOST_VALUES = 20_000
"""Maximum number of residuals: those of the first batches show their distribution, and need little memory."""

_FEWEST_TARGETS = 3
"""Different targets of a regression."""

_COLUMNS, _ROWS = 32, 16


class AnswerTally:
    """Collects the answers of the exported method and the targets that came with them.

    A batch counts if the method is called once for it, and there is one tensor in it that can only be the target:
    integers ``[batch]`` for an output ``[batch, classes]``, or floats of the output's shape. Tensors that the method
    takes are not targets, unless it takes the whole batch and the graph does not use them. One batch that does not fit
    ends it, and nothing is told. Residuals are those of the first 20,000 values.

    Args:
        signature: The signature of the method; None if it takes nothing besides the graph's inputs.
        inputs: The path of each of the graph's inputs in the arguments.
    """

    def __init__(self, signature: inspect.Signature | None = None, inputs: Collection[TensorPath] = ()) -> None:
        self._signature = signature
        self._inputs = frozenset(inputs)
        self._fits = True
        self._calls: list[tuple[list[Tensor], list[Tensor]]] = []
        self._counts: np.ndarray[Any, np.dtype[np.int64]] | None = None
        self._pairs: list[tuple[Tensor, Tensor]] = []
        self._values = 0

    def listening(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """Return the method; its calls are recorded."""

        def call(*args: Any, **kwargs: Any) -> Any:
            result = method(*args, **kwargs)
            self._calls.append((self._taken(args, kwargs), flatten(result)[1]))
            return result

        return call

    def _taken(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
        """Return the tensors of a call that the graph uses; all of them where that cannot be told."""
        if self._signature is None:
            return flatten((args, kwargs))[1]
        structure, tensors = flatten(dict(self._signature.bind(*args, **kwargs).arguments))
        paths = Sample(self._signature, structure, tuple(tensors)).paths
        if not self._inputs <= set(paths):
            return tensors
        return [tensor for path, tensor in zip(paths, tensors, strict=True) if path in self._inputs]

    def end_batch(self, batch: Any) -> None:
        """Count the calls since the last batch.

        Args:
            batch: The batch that the validation step got.
        """
        calls, self._calls = self._calls, []
        if not self._fits:
            return
        self._fits = len(calls) == 1 and bool(calls[0][1]) and self._count(flatten(batch)[1], *calls[0])

    def answers(self) -> Answers | None:
        """Return what was counted; None if the batches do not fit, or there was none."""
        if not self._fits or (self._counts is None and not self._pairs):
            return None
        if self._counts is not None:
            return None if self._pairs else Answers(tuple(map(tuple, self._counts.tolist())), None)
        residuals = _residuals(self._pairs)
        return None if residuals is None else Answers((), residuals)

    def _count(self, batch: Sequence[Tensor], taken: Sequence[Tensor], returned: Sequence[Tensor]) -> bool:
        output = returned[0].detach().cpu()
        others = [t.detach().cpu() for t in batch if not any(_is_same(t, own) for own in taken)]
        if not output.is_floating_point():
            return False
        classes = [t for t in others if not t.is_floating_point() and t.dim() == 1 and len(t) == len(output)]
        if output.dim() == 2 and 1 < output.shape[1] <= MOST_CLASSES and len(classes) == 1:
            return self._count_classes(classes[0].long(), output)
        values = [t for t in others if t.is_floating_point() and t.shape == output.shape]
        room = _MOST_VALUES - self._values
        if len(values) == 1 and room > 0:
            self._pairs.append((values[0].flatten()[:room].double(), output.flatten()[:room].double()))
            self._values += len(self._pairs[-1][0])
        return len(values) == 1

    def _count_classes(self, targets: Tensor, output: Tensor) -> bool:
        classes = output.shape[1]
        if not bool(((targets >= 0) & (targets < classes)).all()):
            return False
        if self._counts is None:
            self._counts = np.zeros((classes, classes), np.int64)
        if len(self._counts) != classes:
            return False
        np.add.at(self._counts, (targets.numpy(), output.argmax(1).numpy()), 1)
        return True


def _is_same(first: Tensor, second: Tensor) -> bool:
    return first is second or (first.shape == second.shape and first.data_ptr() == second.data_ptr())


def _residuals(pairs: Sequence[tuple[Tensor, Tensor]]) -> Residuals | None:
    """Return the differences by target in bins, whose edges are rounded: no value of the data is told.

    Targets of two values are those of a classifier, whose scores are not to be near them: then None.
    """
    targets, outputs = (torch.cat(parts).numpy() for parts in zip(*pairs, strict=True))
    if len(np.unique(targets)) < _FEWEST_TARGETS:
        return None
    differences = outputs - targets
    known = np.isfinite(targets) & np.isfinite(differences)
    if not known.any():
        return None
    across, along = _range(targets[known]), _range(differences[known])
    counts, _, _ = np.histogram2d(differences[known], targets[known], (_ROWS, _COLUMNS), (along, across))
    return Residuals(across, along, tuple(map(tuple, counts.astype(np.int64).tolist())))


def _range(values: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[float, float]:
    """Return rounded limits around values: multiples of a power of ten between 1/32 and 1/3 of their spread."""
    low, high = float(values.min()), float(values.max())
    unit = 10.0 ** np.floor(np.log10(max(high - low, abs(low) * 1e-6, 1e-12)) - 0.5)
    return float(np.floor(low / unit) * unit), float((np.floor(high / unit) + 1) * unit)
