"""Which outputs an input changes, found by calling the module with other values of this input."""

from __future__ import annotations

import torch

from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.runner import Runner
from lightning_onnx.module.values.drawn import drawn_like


def changed_outputs(run: Runner, request: Request, place: int) -> frozenset[int]:
    """Return the indices of the outputs that change with an input; none where the module draws random numbers.

    An output that changes depends on the input. One that does not change may depend on it at other values.

    Args:
        run: Runs the module.
        request: The requested graph.
        place: Index of the input.
    """
    before = run(request.tensors)
    if before is None or run.flat.has_drawn:
        return frozenset()
    own = request.tensors[place]
    found = frozenset[int]()
    others = [drawn_like([own], may_repeat=True)[0], own.flip(0) if own.dim() else own]
    for other in [*others, own + 1] if own.is_floating_point() else others:
        after = run([other if i == place else tensor for i, tensor in enumerate(request.tensors)])
        if after is not None and len(after.tensors) == len(before.tensors):
            pairs = zip(before.tensors, after.tensors, strict=True)
            found |= {i for i, (one, two) in enumerate(pairs) if one.shape != two.shape or not torch.equal(one, two)}
    return found
