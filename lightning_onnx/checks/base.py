"""The protocol of checks: a check examines a staged artifact, and returns passed, failed, or skipped with a reason."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lightning_onnx.manifest.results import CheckRecord
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.runtimes.base import LoadsAhead, Runtime, Session

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lightning_onnx.checks.judged import Judged
    from lightning_onnx.checks.validation import Validation
    from lightning_onnx.module.cases import Case
    from lightning_onnx.module.inner_values import InnerValues


@dataclasses.dataclass(frozen=True)
class CheckResult(CheckRecord):
    """The result of a check.

    Attributes:
        name: Name of the check.
        status: ``"passed"``, ``"failed"`` or ``"skipped"``; "passed" never means "did not run".
        reason: Why it failed or was skipped; for a passed check, what makes it weak, if anything.
        figures: The measured figures, as plain values that JSON can represent.
        scalars: The scalars for loggers, by the name after ``onnx/``.
        notes: What the user should know even if the check passed; each note is also a warning.
    """

    scalars: dict[str, float] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class CheckedFile:
    """The file that is checked, and the runtime.

    Attributes:
        model_path: The staged file, with the bytes that are published later.
        signature: Its inputs and outputs.
        runtime: The runtime that runs it.
    """

    model_path: Path
    signature: Signature
    runtime: Runtime

    def load_ahead(self) -> None:
        """Let the runtime load the file, if it can, while the caller does something else."""
        if isinstance(self.runtime, LoadsAhead):
            self.__dict__["loading"] = self.runtime.begin_load(self.model_path)

    @functools.cached_property
    def session(self) -> Session:
        """The loaded file; it is loaded once."""
        loading: Callable[[], Session] | None = self.__dict__.pop("loading", None)
        return self.runtime.load(self.model_path) if loading is None else loading()


@dataclasses.dataclass(frozen=True)
class CheckedModule:
    """The module that the file is compared with, with the exported weights.

    Attributes:
        reference: Calls the module: flat tensors in, flat tensors out.
        perturbed: The same with rounding errors in inputs, parameters and results; the number selects the changes.
        is_stochastic: Whether the module may draw random numbers in eval mode.
        redrawn: Calls the module with other random numbers, drawn so many numbers later; None if ``reference`` draws
            from the shared random state.
        flat: The module itself, called with flat tensors; None if only its outputs are known.
        kept_state: Names of the attributes through which a call changes the results of later ones; may be empty.
        inner: Reports the module's inner values, to find where the file differs; None if they are unknown.
    """

    reference: Callable[[Sequence[Tensor]], list[Tensor]]
    perturbed: Callable[[Sequence[Tensor], int], list[Tensor]]
    is_stochastic: bool = True
    redrawn: Callable[[Sequence[Tensor], int], list[Tensor]] | None = None
    flat: nn.Module | None = None
    inner: InnerValues | None = None
    kept_state: str = ""


@dataclasses.dataclass(frozen=True)
class CheckInputs:
    """The inputs of both the file and the module.

    Attributes:
        cases: Inputs to compare on; the first case has the traced sizes.
        validation: The user's validation loop with the exported weights, or None.
        no_validation: Why there is no validation loop.
    """

    cases: tuple[Case, ...]
    validation: Validation | None = None
    no_validation: str = "there are no validation batches"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckContext:
    """The context of a check.

    Attributes:
        file: The file, and the runtime.
        module: The module that the file is compared with.
        inputs: The inputs of both.
        judged: How cases were judged; used only for the file and the module that it is bound to, see ``judgements``.
    """

    file: CheckedFile
    module: CheckedModule
    inputs: CheckInputs
    judged: Judged | None = None

    @property
    def model_path(self) -> Path:
        """The staged file."""
        return self.file.model_path

    @property
    def signature(self) -> Signature:
        """The file's inputs and outputs."""
        return self.file.signature

    @property
    def runtime(self) -> Runtime:
        """The runtime that runs the file."""
        return self.file.runtime

    @property
    def session(self) -> Session:
        """The loaded file."""
        return self.file.session

    @property
    def reference(self) -> Callable[[Sequence[Tensor]], list[Tensor]]:
        """Calls the module with the exported weights: flat tensors in, flat tensors out."""
        return self.module.reference

    @property
    def cases(self) -> tuple[Case, ...]:
        """Inputs to compare on; the first case has the traced sizes."""
        return self.inputs.cases

    @property
    def judgements(self) -> Judged | None:
        """How cases of this file and this module were judged; None if that is not remembered."""
        return self.judged if self.judged is not None and self.judged.is_of(self.file, self.module) else None

    def remembering(self, judged: Judged | None) -> CheckContext:
        """Return the same context with what is known of a file with these bytes and of this module.

        Args:
            judged: How its cases were judged; new comparisons are added. With None, nothing is remembered.
        """
        bound = None if judged is None else judged.bound_to(self.file, self.module)
        return dataclasses.replace(self, judged=bound)

    def replace(self, **changes: Any) -> CheckContext:
        """Return the same context with new values for fields of its parts, given by field name.

        What was judged is forgotten unless ``judged`` is given, too: the file or the module may be another one.

        Raises:
            TypeError: If no part has such a field.
        """
        parts: dict[str, Any] = {"judged": changes.pop("judged", None)}
        for name in ("file", "module", "inputs"):
            part = getattr(self, name)
            names = {f.name for f in dataclasses.fields(part)} & set(changes)
            new = {name: changes.pop(name) for name in names}
            parts[name] = dataclasses.replace(part, **new) if new else part
        if changes:
            raise TypeError(f"CheckContext has no fields {sorted(changes)}. Use the names of its parts' fields.")
        return CheckContext(**parts)


@runtime_checkable
class Check(Protocol):
    """Something that can fail."""

    @property
    def name(self) -> str:
        """Name of the check in reports and loggers."""

    def __call__(self, context: CheckContext) -> CheckResult:
        """Examine a staged artifact. If this raises, the check has failed."""
