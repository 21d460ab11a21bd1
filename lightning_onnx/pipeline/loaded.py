"""A module with the weights to export."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

from torch import nn

from lightning_onnx.checks.loaders import NO_LOADERS, Loaders
from lightning_onnx.module.saved import Place
from lightning_onnx.module.weights.source import Source


@dataclasses.dataclass(frozen=True)
class LoadedModule:
    """A module with the weights to export.

    Attributes:
        module: A private copy (see ``lightning_onnx.module.weights.copying.private_copy``).
        source: Where its weights come from.
        loaders: Validation batches, for the checks that need them.
        started: ``time.perf_counter()`` at the start of its export, in seconds.
        moment: Digests of what the method read besides weights at the moment of these weights, where it may differ from
            now; None if that is unknown.
        changed: What had other values at that moment, as far as that is known if ``moment`` is not.
    """

    module: nn.Module
    source: Source
    loaders: Loaders = NO_LOADERS
    started: float = dataclasses.field(default_factory=time.perf_counter)
    moment: Mapping[Place, str] | None = dataclasses.field(default_factory=dict)
    changed: Sequence[Place] = ()
