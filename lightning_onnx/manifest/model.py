"""What the manifest says of the exported model: its file, inputs and outputs, and what its graph consists of."""

from __future__ import annotations

import dataclasses

from lightning_onnx.manifest.fields import Fields, Plain
from lightning_onnx.module.calls.signature import Signature, SizeRange, TensorSpec
from lightning_onnx.onnxfile.graph_summary import Block, GraphSummary, ModuleSummary


@dataclasses.dataclass(frozen=True)
class FileDigest:
    """A file's content, to recognise it by.

    Attributes:
        sha256: SHA-256 of the content in hexadecimal.
        bytes: Size in bytes.
    """

    sha256: str
    bytes: int

    @classmethod
    def read(cls, fields: Fields) -> FileDigest:
        """Read the record from its JSON."""
        return cls(fields.required("sha256", str), fields.required("bytes", int))

    def __str__(self) -> str:
        return f"{self.bytes} bytes" + (f" with SHA-256 {self.sha256}" if self.sha256 else "")


@dataclasses.dataclass(frozen=True)
class ModelFile:
    """The exported model (``model`` in the JSON).

    Attributes:
        file: File name.
        digest: Its content, without weights in a separate file.
        opset: Opset version of the default domain, None if the model has no operator of it.
        ir_version: ONNX IR version.
        target: The program that the opset was chosen for, if any.
        oldest_onnxruntime: The oldest version of onnxruntime that loads it, None if unknown.
        engine: Name of the engine that traced it.
        engine_reason: Why that engine.
    """

    file: str
    digest: FileDigest
    opset: int | None
    ir_version: int
    target: str | None
    oldest_onnxruntime: str | None
    engine: str
    engine_reason: str

    @classmethod
    def read(cls, fields: Fields) -> ModelFile:
        """Read the record from its JSON."""
        return cls(
            fields.required("file", str),
            FileDigest.read(fields),
            fields.optional("opset", int),
            fields.required("ir_version", int),
            fields.optional("target", str),
            fields.optional("oldest_onnxruntime", str),
            fields.required("engine", str),
            fields.required("engine_reason", str),
        )

    def to_dict(self) -> Plain:
        """Return the JSON of the record."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.name != "digest"}
        return {"file": own.pop("file"), **dataclasses.asdict(self.digest), **own}


def read_signature(fields: Fields) -> Signature:
    """Return the inputs and outputs that a manifest lists."""
    inputs, outputs = (tuple(map(_read_spec, fields.objects(key, required=True))) for key in ("inputs", "outputs"))
    ranges = {name: _read_range(own) for name, own in fields.objects_by_name("ranges").items()}
    return Signature(inputs, outputs, fields.items("relations", str), ranges)


def signature_to_dict(signature: Signature) -> Plain:
    """Return the fields of the manifest that hold a signature."""
    return {
        "inputs": [_spec_to_dict(spec) for spec in signature.inputs],
        "outputs": [_spec_to_dict(spec) for spec in signature.outputs],
        "relations": list(signature.relations),
        **({"ranges": ranges} if (ranges := ranges_to_dict(signature)) else {}),
    }


def ranges_to_dict(signature: Signature) -> Plain:
    """Return the limits of the dynamic dims that have any: ``min``, and ``max`` where there is one."""
    return {
        name: {"min": sizes.min} | ({} if sizes.max is None else {"max": sizes.max})
        for name, sizes in signature.ranges.items()
        if sizes.is_limited
    }


def read_graph(fields: Fields) -> GraphSummary:
    """Return what the graph consists of."""
    modules = {name: _read_module(own) for name, own in fields.objects_by_name("modules").items()}
    blocks = tuple(map(_read_block, fields.objects("blocks")))
    return GraphSummary(fields.optional("nodes", int) or 0, fields.by_name("operators", int), modules, blocks)


def graph_to_dict(graph: GraphSummary) -> Plain:
    """Return the field of the manifest that says what the graph consists of."""
    modules = {
        name: {"class": own.class_name, "bytes": own.bytes, "operators": dict(own.operators)}
        for name, own in graph.modules.items()
    }
    blocks = [
        {
            "label": own.label,
            "class": own.class_name,
            "nodes": own.nodes,
            "shape": None if own.shape is None else list(own.shape),
            "sources": list(own.sources),
        }
        for own in graph.blocks
    ]
    return {"nodes": graph.nodes, "operators": dict(graph.operators), "modules": modules} | (
        {"blocks": blocks} if blocks else {}
    )


def _read_range(fields: Fields) -> SizeRange:
    return SizeRange(fields.optional("min", int) or 1, fields.optional("max", int))


def _read_spec(fields: Fields) -> TensorSpec:
    return TensorSpec(fields.required("name", str), fields.name("dtype"), fields.shape("shape"))


def _spec_to_dict(spec: TensorSpec) -> Plain:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}


def _read_block(fields: Fields) -> Block:
    shape = None if fields.optional("shape", list) is None else fields.shape("shape")
    return Block(
        fields.required("label", str),
        fields.optional("class", str),
        fields.optional("nodes", int) or 0,
        shape,
        fields.items("sources", int),
    )


def _read_module(fields: Fields) -> ModuleSummary:
    return ModuleSummary(
        fields.optional("class", str), fields.optional("bytes", int) or 0, fields.by_name("operators", int)
    )
