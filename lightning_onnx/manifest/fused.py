"""What the manifest says of a graph that does more than the exported method (``fused`` in the JSON)."""

from __future__ import annotations

import dataclasses

from lightning_onnx.manifest.fields import Fields, Plain


@dataclasses.dataclass(frozen=True)
class Fused:
    """What the graph does before and after the exported method; None where it does nothing.

    Attributes:
        preprocess: How the preprocessing prints itself, or the name of the module's method.
        postprocess: The same of the postprocessing.
    """

    preprocess: str | None = None
    postprocess: str | None = None

    @classmethod
    def read(cls, fields: Fields) -> Fused:
        """Read the record from its JSON."""
        return cls(fields.optional("preprocess", str), fields.optional("postprocess", str))

    def to_dict(self) -> Plain:
        """Return the JSON of the record."""
        return dataclasses.asdict(self)
