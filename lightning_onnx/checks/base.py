"""What a check is: it looks at a staged artifact and says passed, failed, or skipped with a reason."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor, nn

from lightning_onnx.checks.validation import Validation
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.module.cases import Case
from lightning_onnx.module.inner_values import InnerValues
from lightning_onnx.runtimes.base import Runtime

Status = Literal["passed", "failed", "skipped"]


@dataclasses.dataclass(frozen=True)
class CheckResult:
    """What a check found.

    Attributes:
        name: Name of the check.
        status: ``"passed"``, ``"failed"`` or ``"skipped"``; "passed" never means "did not run".
        reason: Why it failed or was skipped; for a passed one what makes it weak, if anything.
        figures: What was measured; plain values that JSON can hold.
        scalars: What loggers get of it, by the name behind ``onnx/``.
    """

    name: str
    status: Status
    reason: str | None = None
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    scalars: dict[str, float] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as the manifest holds it."""
        return {"name": self.name, "status": self.status, "reason": self.reason, "figures": self.figures}


@dataclasses.dataclass(frozen=True)
class CheckContext:
    """What checks need beyond the file.

    Attributes:
        model_path: The staged file, the bytes that are published later.
        signature: What the file takes and gives.
        runtime: What runs it.
        reference: The module with the exported weights: flat tensors in, flat tensors out.
        cases: Inputs to compare on; the first one at the traced sizes.
        nudged: The reference with inputs and parameters changed by rounding; the number chooses in which way.
        draws: Whether the module may draw random numbers in eval mode.
        module: The module itself, called with flat tensors; None where only its outputs are known.
        validation: The user's validation loop with the exported weights; None where there is none.
        no_validation: Why there is none.
        inner: Tells the module's inner values, to find where the file differs from it; None where they are not known.
    """

    model_path: Path
    signature: Signature
    runtime: Runtime
    reference: Callable[[Sequence[Tensor]], list[Tensor]]
    cases: tuple[Case, ...]
    nudged: Callable[[Sequence[Tensor], int], list[Tensor]]
    is_stochastic: bool = True
    module: nn.Module | None = None
    validation: Validation | None = None
    no_validation: str = "there are no validation batches"
    inner: InnerValues | None = None


@runtime_checkable
class Check(Protocol):
    """Something that can fail."""

    @property
    def name(self) -> str:
        """Name of the check, by which reports and loggers know it."""

    def __call__(self, context: CheckContext) -> CheckResult:
        """Look at a staged artifact. An exception counts as failed."""
