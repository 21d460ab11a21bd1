"""What a check is: it looks at a staged artifact and says passed, failed, or skipped with a reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from lightning_onnx.checks.validation import Validation
from lightning_onnx.manifest.results import CheckRecord
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.module.cases import Case
from lightning_onnx.module.inner_values import InnerValues
from lightning_onnx.runtimes.base import Runtime


@dataclasses.dataclass(frozen=True)
class CheckResult(CheckRecord):
    """What a check found.

    Attributes:
        name: Name of the check.
        status: ``"passed"``, ``"failed"`` or ``"skipped"``; "passed" never means "did not run".
        reason: Why it failed or was skipped; for a passed one what makes it weak, if anything.
        figures: What was measured; plain values that JSON can hold.
        scalars: What loggers get of it, by the name behind ``onnx/``.
        notes: What a user should know although the check passed, in sentences; each is a warning, too.
    """

    scalars: dict[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class CheckedFile:
    """The file that is checked, and what runs it.

    Attributes:
        model_path: The staged file, the bytes that are published later.
        signature: What it takes and gives.
        runtime: What runs it.
    """

    model_path: Path
    signature: Signature
    runtime: Runtime


@dataclasses.dataclass(frozen=True)
class CheckedModule:
    """The module that the file is compared with, with the exported weights.

    Attributes:
        reference: Calls it: flat tensors in, flat tensors out.
        perturbed: The same with inputs and parameters changed by rounding; the number chooses in which way.
        is_stochastic: Whether it may draw random numbers in eval mode.
        flat: The module itself, called with flat tensors; None where only its outputs are known.
        kept_state: Names of the attributes by which a call changes what later ones return; empty where it does not.
        inner: Tells its inner values, to find where the file differs from it; None where they are not known.
    """

    reference: Callable[[Sequence[Tensor]], list[Tensor]]
    perturbed: Callable[[Sequence[Tensor], int], list[Tensor]]
    is_stochastic: bool = True
    flat: nn.Module | None = None
    inner: InnerValues | None = None
    kept_state: str = ""


@dataclasses.dataclass(frozen=True)
class CheckInputs:
    """What both are run on.

    Attributes:
        cases: Inputs to compare on; the first one at the traced sizes.
        validation: The user's validation loop with the exported weights; None where there is none.
        no_validation: Why there is none.
    """

    cases: tuple[Case, ...]
    validation: Validation | None = None
    no_validation: str = "there are no validation batches"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckContext:
    """What checks need to know.

    Attributes:
        file: The file, and what runs it.
        module: What it is compared with.
        inputs: What both are run on.
    """

    file: CheckedFile
    module: CheckedModule
    inputs: CheckInputs

    @property
    def model_path(self) -> Path:
        """The staged file."""
        return self.file.model_path

    @property
    def signature(self) -> Signature:
        """What the file takes and gives."""
        return self.file.signature

    @property
    def runtime(self) -> Runtime:
        """What runs the file."""
        return self.file.runtime

    @property
    def reference(self) -> Callable[[Sequence[Tensor]], list[Tensor]]:
        """Calls the module with the exported weights: flat tensors in, flat tensors out."""
        return self.module.reference

    @property
    def cases(self) -> tuple[Case, ...]:
        """Inputs to compare on; the first one at the traced sizes."""
        return self.inputs.cases

    def replace(self, **changes: Any) -> CheckContext:
        """Return the same context with other values for fields of its parts, given by the fields' names.

        Raises:
            TypeError: If no part has a field of that name.
        """
        parts: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            part = getattr(self, field.name)
            names = {f.name for f in dataclasses.fields(part)} & set(changes)
            parts[field.name] = dataclasses.replace(part, **{name: changes.pop(name) for name in names})
        if changes:
            raise TypeError(f"CheckContext has no {sorted(changes)}")
        return CheckContext(**parts)


@runtime_checkable
class Check(Protocol):
    """Something that can fail."""

    @property
    def name(self) -> str:
        """Name of the check, by which reports and loggers know it."""

    def __call__(self, context: CheckContext) -> CheckResult:
        """Look at a staged artifact. An exception counts as failed."""
