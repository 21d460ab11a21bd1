"""All steps, and how a module ends."""

from __future__ import annotations

from tests.property.steps.base import Step
from tests.property.steps.branches import BRANCHES
from tests.property.steps.constants import SETTINGS, SMALL_CONSTANTS
from tests.property.steps.images import IMAGES
from tests.property.steps.integers import WHOLE_NUMBERS
from tests.property.steps.layers import LAYERS
from tests.property.steps.masks import MASKS
from tests.property.steps.sequences import SEQUENCES
from tests.property.steps.vectors import OVER_THE_BATCH, VECTOR_STEPS

TABLE: list[Step] = [
    *SMALL_CONSTANTS,
    *SETTINGS,
    *LAYERS,
    *VECTOR_STEPS,
    *OVER_THE_BATCH,
    *BRANCHES,
    *SEQUENCES,
    *MASKS,
    *WHOLE_NUMBERS,
    *IMAGES,
]

ENDS = (
    "return x",
    "return x",
    "return {'scores': x, 'best': x.argmax(-1)}",
    "return x, x.mean()",
    "return [x, x.shape[0], {'none': None, 'sum': x.sum(-1)}]",
)
"""How ``forward`` ends."""
