"""All cases."""

from __future__ import annotations

from . import cases_graph, cases_images, cases_library, cases_lightning, cases_sequences, cases_shapes, cases_text
from .case import Case

CASES: list[Case] = [
    *cases_images.CASES,
    *cases_sequences.CASES,
    *cases_shapes.CASES,
    *cases_lightning.CASES,
    *cases_text.CASES,
    *cases_library.CASES,
    *cases_graph.CASES,
]
