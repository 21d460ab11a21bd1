"""The record of ``manifest.json``: ``to_dict`` gives its JSON, key for key, and ``from_dict`` reads it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from lightning_onnx.errors import ArtifactError
from lightning_onnx.manifest.answers import Samples
from lightning_onnx.manifest.contract import Contract
from lightning_onnx.manifest.fields import Fields, Plain
from lightning_onnx.manifest.fused import Fused
from lightning_onnx.manifest.model import (
    FileDigest,
    ModelFile,
    graph_to_dict,
    read_graph,
    read_signature,
    signature_to_dict,
)
from lightning_onnx.manifest.results import CheckRecord, VariantRecord
from lightning_onnx.manifest.shape_ranges import DimRange, InputRange, input_ranges
from lightning_onnx.manifest.source import ExportSource
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.onnxfile.graph_summary import GraphSummary

FORMAT_VERSION = 2
"""The format that is written: 2 added ``requires``, ``contract`` and ``methods``."""

READ_VERSIONS = (1, 2)

REQUIRES = "0.2"
"""The oldest version of lightning-onnx that reads ``FORMAT_VERSION``."""

_SHARED = ("format_version", "requires", "name", "metadata", "versions", "files", "assets", "seconds")
"""Fields that are the same for all methods of an artifact, and stand in its manifest once."""


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All that ``manifest.json`` says.

    Attributes:
        name: Name of the artifact, None if unknown.
        model: The exported model.
        signature: Its inputs and outputs (``inputs``, ``outputs``, ``relations`` and
            ``ranges`` in the JSON).
        source: Where the weights and the traced call come from.
        checks: What the checks found.
        scalars: What loggers get, by the name behind ``onnx/``.
        runtimes: What ``RuntimeParity`` found, by runtime; plain values.
        variants: What became of the variants.
        notes: What a user should know, in sentences.
        metadata: What the user embedded in the model.
        graph: What the model consists of.
        versions: Versions of the packages that took part.
        files: All files of the artifact except the manifest itself, by path relative to its directory; empty until
            the artifact is committed.
        format_version: The format of its JSON.
        requires: The oldest version of lightning-onnx that reads it; None in format 1.
        shape_ranges: The sizes that runtimes should expect, by dynamic dim; empty in format 1.
        shape_ranges_from: Where they come from: ``"training"``, ``"data"`` (batches of a loader without a training) or
            ``"sample"`` (one given call); None if unknown.
        samples: Answers of module and file for the test data; empty in format 1.
        fused: What the graph does besides the exported method; None if that is nothing.
        assets: Files that callers need beside the model, by path relative to the directory.
        contract: What inputs and outputs mean; None if it was left out, and in format 1.
        seconds: Where the time of the export went, in seconds by stage; empty if it was not measured.
        methods: Of an artifact of several methods, the records of all but the first, by method. The other fields
            describe the first method.
    """

    name: str | None
    model: ModelFile
    signature: Signature
    source: ExportSource
    checks: tuple[CheckRecord, ...]
    scalars: Mapping[str, float]
    runtimes: Plain
    variants: tuple[VariantRecord, ...]
    notes: tuple[str, ...]
    metadata: Mapping[str, str]
    graph: GraphSummary
    versions: Mapping[str, str]
    files: Mapping[str, FileDigest] = dataclasses.field(default_factory=dict)
    format_version: int = FORMAT_VERSION
    requires: str | None = REQUIRES
    shape_ranges: Mapping[str, DimRange] = dataclasses.field(default_factory=dict)
    shape_ranges_from: str | None = None
    samples: Samples = dataclasses.field(default_factory=Samples)
    contract: Contract | None = None
    fused: Fused | None = None
    assets: tuple[str, ...] = ()
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    methods: Mapping[str, Manifest] = dataclasses.field(default_factory=dict)

    @classmethod
    def from_dict(cls, values: object) -> Manifest:
        """Read a manifest; unknown fields are ignored.

        Args:
            values: What ``to_dict`` gave, or what JSON made of it.

        Raises:
            ArtifactError: If it has a later format, or a field that every version has written is missing, or one has
                the wrong type; the message names it.
        """
        read = cls._read(Fields(values))
        read._check_methods()
        return read

    @classmethod
    def _read(cls, fields: Fields) -> Manifest:
        version = checked_version(fields)
        methods = fields.objects_by_name("methods")
        return cls(
            name=fields.optional("name", str),
            model=ModelFile.read(fields.object("model")),
            signature=read_signature(fields),
            source=ExportSource.read(fields.object("source")),
            checks=tuple(map(CheckRecord.read, fields.objects("checks", required=True))),
            scalars=fields.by_name("scalars", float),
            runtimes=fields.optional("runtimes", dict) or {},
            variants=tuple(map(VariantRecord.read, fields.objects("variants"))),
            notes=fields.items("notes", str),
            metadata=fields.by_name("metadata", str),
            graph=read_graph(fields.optional_object("graph") or Fields({}, "graph")),
            versions=fields.by_name("versions", str),
            files={name: FileDigest.read(own) for name, own in fields.objects_by_name("files").items()},
            format_version=version,
            requires=fields.optional("requires", str),
            shape_ranges={name: DimRange.read(own) for name, own in fields.objects_by_name("shape_ranges").items()},
            shape_ranges_from=fields.optional("shape_ranges_from", str),
            samples=Samples.read(fields.optional_object("samples") or Fields({}, "samples")),
            contract=None if (own := fields.optional_object("contract")) is None else Contract.read(own),
            assets=fields.items("assets", str),
            fused=None if (own := fields.optional_object("fused")) is None else Fused.read(own),
            seconds=fields.by_name("seconds", float),
            methods={name: cls._read(_completed(own, fields)) for name, own in methods.items()},
        )

    def _check_methods(self) -> None:
        """Raise if the methods do not have a name and a file each, as ``joined`` gives them."""
        for name, record in self.methods.items():
            if name == self.source.method or name != record.source.method:
                what = "the first one" if name == self.source.method else f"{record.source.method} in its source"
                raise ArtifactError(f"the manifest is invalid: methods has {name}, which is {what}. Export again.")
        files = [record.model.file for record in self.by_method.values()]
        if len(set(files)) < len(files):
            raise ArtifactError("the manifest is invalid: several methods have the same file. Export again.")

    @classmethod
    def joined(cls, records: Sequence[Manifest]) -> Manifest:
        """Return the manifest of an artifact of these methods.

        Args:
            records: The record of each method, the first one first.
        """
        first, *others = records
        return dataclasses.replace(first, methods={record.source.method: record for record in others})

    def to_dict(self) -> Plain:
        """Return the JSON of the manifest in plain values."""
        methods = {name: _without_shared(own.to_dict()) for name, own in self.methods.items()}
        sizes = {name: own.to_dict() for name, own in self.shape_ranges.items()}
        return {
            "format_version": self.format_version,
            **({} if self.requires is None else {"requires": self.requires}),
            "name": self.name,
            "model": self.model.to_dict(),
            **signature_to_dict(self.signature),
            **({} if self.contract is None else {"contract": self.contract.to_dict()}),
            **({"assets": list(self.assets)} if self.assets else {}),
            **({} if self.fused is None else {"fused": self.fused.to_dict()}),
            "source": self.source.to_dict(),
            "checks": [check.to_dict() for check in self.checks],
            "scalars": dict(self.scalars),
            "runtimes": self.runtimes,
            "variants": [variant.to_dict() for variant in self.variants],
            "notes": list(self.notes),
            "metadata": dict(self.metadata),
            "graph": graph_to_dict(self.graph),
            "versions": dict(self.versions),
            "files": {name: dataclasses.asdict(digest) for name, digest in self.files.items()},
            **({"shape_ranges": sizes} if sizes or self.format_version > 1 else {}),
            **({} if self.shape_ranges_from is None else {"shape_ranges_from": self.shape_ranges_from}),
            **({"samples": self.samples.to_dict()} if self.samples.outputs or self.format_version > 1 else {}),
            **({"seconds": dict(self.seconds)} if self.seconds else {}),
            **({"methods": methods} if methods else {}),
        }

    @property
    def by_method(self) -> dict[str, Manifest]:
        """The record of each exported method, the first one first, as if the method had an artifact of its own."""
        return {self.source.method: dataclasses.replace(self, methods={}), **self.methods}

    @property
    def input_ranges(self) -> tuple[InputRange, ...]:
        """The smallest, usual and largest shape of each input that has a dynamic dim."""
        return input_ranges(self.signature, self.shape_ranges, self.source.traced_shapes)

    def with_scalar(self, name: str, value: float) -> Manifest:
        """Return the same manifest with one more number for loggers."""
        return dataclasses.replace(self, scalars={**self.scalars, name: value})

    @property
    def model_files(self) -> tuple[str, ...]:
        """File names of the models, and of the variants that have a file."""
        own = (self.model.file, *(variant.file for variant in self.variants if variant.file is not None))
        return (*own, *(name for record in self.methods.values() for name in record.model_files))

    def model_digests(self) -> dict[str, FileDigest]:
        """Return the digest of each model, and of each variant that has a file, by file name."""
        found = {self.model.file: self.model.digest}
        found |= {v.file: v.digest for v in self.variants if v.file is not None and v.digest is not None}
        for record in self.methods.values():
            found |= record.model_digests()
        return found


def _completed(own: Fields, whole: Fields) -> Fields:
    """Return the fields of a further method, with those that the manifest has once for all methods."""
    shared = {key: whole.values[key] for key in _SHARED if key in whole.values}
    return Fields({**own.values, **shared, "methods": {}}, own.place)


def _without_shared(values: Plain) -> Plain:
    return {key: value for key, value in values.items() if key not in _SHARED}


def checked_version(fields: Fields) -> int:
    """Return the format version of a manifest.

    Raises:
        ArtifactError: If this package does not read it; the message names the version of lightning-onnx that does.
    """
    version = fields.values.get("format_version")
    if type(version) is int and version in READ_VERSIONS:
        return version
    if type(version) is not int or version < 1:
        raise ArtifactError(
            f"the manifest is invalid: format_version is {version!r}, expected one of {READ_VERSIONS}. Export again."
        )
    needed = fields.values.get("requires")
    newer = f"lightning-onnx {needed} or later" if isinstance(needed, str) else "a later version of lightning-onnx"
    raise ArtifactError(
        f"it has format_version {version}, this version reads {READ_VERSIONS[0]} to {READ_VERSIONS[-1]}. "
        f"Install {newer} to use it."
    )
