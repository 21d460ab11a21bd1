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
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}
