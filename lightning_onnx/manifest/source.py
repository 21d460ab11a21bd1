"""What the manifest says of the weights' origin, and of the call that was traced."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from lightning_onnx.manifest.fields import Fields, Plain
from lightning_onnx.module.weights.source import Source


@dataclasses.dataclass(frozen=True)
class ExportSource(Source):
    """Where the weights come from, and the call that was traced (``source`` in the JSON).

    Attributes:
        module: Name of the module's class, None if unknown.
        method: The exported method.
        sample: Where the traced call comes from, None if unknown.
        traced_shapes: Shape of each input in the traced call.
        input_paths: Where each input is in the method's arguments.
        output_paths: Where each output is in the method's result.
    """

    module: str | None = None
    method: str = "forward"
    sample: str | None = None
    traced_shapes: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    input_paths: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    output_paths: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> ExportSource:
        """Read the record from its JSON."""
        paths = Fields(fields.optional("paths", dict) or {}, f"{fields.place}.paths")
        return cls(
            weights=fields.required("weights", str),
            epoch=fields.optional("epoch", int),
            global_step=fields.optional("global_step", int),
            checkpoint=fields.optional("checkpoint", str),
            monitor=fields.optional("monitor", str),
            score=fields.optional("score", float),
            precision=fields.optional("precision", str),
            device=fields.optional("device", str),
            run=fields.optional("run", str),
            module=fields.optional("module", str),
            method="forward" if fields.optional("method", str) is None else fields.name("method"),
            sample=fields.optional("sample", str),
            traced_shapes=fields.lists_by_name("traced_shapes", int),
            input_paths=paths.lists_by_name("inputs", str),
            output_paths=paths.lists_by_name("outputs", str),
        )

    def to_dict(self) -> Plain:
        """Return the JSON of the record."""
        own = dataclasses.asdict(self)
        inputs, outputs = own.pop("input_paths"), own.pop("output_paths")
        if self.run is None:
            del own["run"]
        own["traced_shapes"] = _with_lists(own["traced_shapes"])
        return {**own, "paths": {"inputs": _with_lists(inputs), "outputs": _with_lists(outputs)}}


def _with_lists(by_name: Mapping[str, Sequence[object]]) -> dict[str, list[object]]:
    return {name: list(values) for name, values in by_name.items()}
