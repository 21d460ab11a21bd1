"""What the manifest says of checks and variants."""

from __future__ import annotations

import dataclasses
from typing import Literal

from lightning_onnx.manifest.fields import Fields, Plain
from lightning_onnx.manifest.model import FileDigest

Status = Literal["passed", "failed", "skipped"]

_STATUSES: tuple[Status, ...] = ("passed", "failed", "skipped")


@dataclasses.dataclass(frozen=True)
class CheckRecord:
    """What a check found, as the manifest holds it.

    Attributes:
        name: Name of the check.
        status: ``"passed"``, ``"failed"`` or ``"skipped"``; "passed" never means "did not run".
        reason: Why it failed or was skipped; for a passed one what makes it weak, if anything.
        figures: What was measured; plain values that JSON can hold.
    """

    name: str
    status: Status
    reason: str | None = None
    figures: Plain = dataclasses.field(default_factory=dict)

    @classmethod
    def read(cls, fields: Fields) -> CheckRecord:
        """Read the record from its JSON."""
        return cls(
            fields.required("name", str),
            fields.one_of("status", _STATUSES),
            fields.optional("reason", str),
            fields.optional("figures", dict) or {},
        )

    def to_dict(self) -> Plain:
        """Return the result as the manifest holds it."""
        return {"name": self.name, "status": self.status, "reason": self.reason, "figures": self.figures}


@dataclasses.dataclass(frozen=True)
class VariantRecord:
    """What became of a variant.

    Attributes:
        name: Name of the variant.
        class_name: Its class (``class`` in the JSON).
        file: File name of its model, None if it did not pass.
        sha256: SHA-256 of that file in hexadecimal.
        bytes: Size in bytes of that file, or of the one that was removed; None if none was written.
        opset: Opset version of that file, None if unknown.
        status: As for a check.
        reason: As for a check.
        options: The options that it was made with; plain values.
        checks: What its checks found.
        figures: What was measured; plain values.
        notes: What a user should know.
    """

    name: str
    class_name: str
    file: str | None
    sha256: str | None
    bytes: int | None
    opset: int | None
    status: Status
    reason: str | None
    options: Plain = dataclasses.field(default_factory=dict)
    checks: tuple[CheckRecord, ...] = ()
    figures: Plain = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, fields: Fields) -> VariantRecord:
        """Read the record from its JSON."""
        return cls(
            fields.required("name", str),
            fields.required("class", str),
            fields.optional("file", str),
            fields.optional("sha256", str),
            fields.optional("bytes", int),
            fields.optional("opset", int),
            fields.one_of("status", _STATUSES),
            fields.optional("reason", str),
            fields.optional("options", dict) or {},
            tuple(map(CheckRecord.read, fields.objects("checks"))),
            fields.optional("figures", dict) or {},
            fields.items("notes", str),
        )

    @property
    def digest(self) -> FileDigest | None:
        """The content of its file, None if it has none."""
        return None if self.sha256 is None or self.bytes is None else FileDigest(self.sha256, self.bytes)

    def to_dict(self) -> Plain:
        """Return the JSON of the record."""
        own = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        own |= {"checks": [check.to_dict() for check in self.checks], "notes": list(self.notes)}
        return {"name": own.pop("name"), "class": own.pop("class_name"), **own}
