"""Inputs on which a file is compared with the module."""

from __future__ import annotations

import dataclasses
from typing import Literal

from torch import Tensor

CaseKind = Literal["traced", "observed", "resized", "values", "decision"]
"""Where a case's inputs come from.

``"traced"``: observed values at the traced sizes; ``"observed"``: an observed call at its own sizes, a large batch cut
to a few rows; ``"resized"``: observed values, repeated or cut to sizes that were not observed; ``"values"``: other
values at the traced sizes; ``"decision"``: values on which the method decides differently from the traced call.
"""


@dataclasses.dataclass(frozen=True)
class Case:
    """Inputs to try a model with.

    Attributes:
        label: Description: where the inputs come from, and their sizes.
        tensors: One tensor for each input, in the graph's order.
        expected: The module's outputs if they are known already; None if they have to be computed.
        kind: Where the inputs come from.
        beyond: Whether values lie outside the observed range. A mismatch there is reported as a limit of the file and
            not as a failure, unless the cause is a decision kept from the trace or a size.
    """

    label: str
    tensors: tuple[Tensor, ...]
    expected: tuple[Tensor, ...] | None = None
    kind: CaseKind = dataclasses.field(kw_only=True)
    beyond: bool = dataclasses.field(default=False, kw_only=True)

    @property
    def may_be_refused(self) -> bool:
        """Whether the module need not take these values: they were not observed."""
        return self.kind in ("values", "decision")

    @property
    def may_be_wrong(self) -> bool:
        """Whether a wrong output is reported as a limit instead of a failure."""
        return self.beyond and self.kind not in ("resized", "decision")
