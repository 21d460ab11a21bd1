"""What the manifest says of a graph that does more than the exported method (``fused`` in the JSON)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from lightning_onnx.manifest.fields import Fields, Plain, plain
from lightning_onnx.manifest.results import CheckRecord

WITHOUT_PART = "the part of the graph between preprocessing and postprocessing cannot be run by itself"


@dataclasses.dataclass(frozen=True)
class Fused:
    """What the graph does before and after the exported method; None where it does nothing.

    Attributes:
        preprocess: How the preprocessing prints itself, or the name of the module's method.
        postprocess: The same of the postprocessing.
        inner_inputs: Names of the values that the part between them takes; empty if it cannot be run by itself.
        inner_outputs: Names of the values that it returns.
    """

    preprocess: str | None = None
    postprocess: str | None = None
    inner_inputs: tuple[str, ...] = ()
    inner_outputs: tuple[str, ...] = ()

    @classmethod
    def read(cls, fields: Fields) -> Fused:
        """Read the record from its JSON."""
        return cls(
            fields.optional("preprocess", str),
            fields.optional("postprocess", str),
            fields.items("inner_inputs", str),
            fields.items("inner_outputs", str),
        )

    def to_dict(self) -> Plain:
        """Return the JSON of the record."""
        return plain(self)


def why_no_inner_part(fused: Fused | None, checks: Iterable[CheckRecord]) -> str:
    """Return why a graph has no part that runs by itself, as the end of a sentence about its artifact.

    Args:
        fused: What the graph does around the exported method; None if it is that of the method alone.
        checks: Results of the checks: one that was skipped because there is no such part gives the reason.
    """
    if fused is None:
        return "has neither preprocessing nor postprocessing: the whole model (model_path) is that of the method."
    reasons = (check.reason.partition(WITHOUT_PART)[2] for check in checks if check.reason)
    reason = next(filter(None, reasons), "")
    return (
        f"has no part between preprocessing and postprocessing that runs by itself{reason}. Use the whole model "
        "(model_path)."
    )
