"""The figures that checks and variants of this package measure, as records; checks of users may have any others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from lightning_onnx.errors import ArtifactError
from lightning_onnx.manifest.fields import Fields, Plain


@dataclasses.dataclass(frozen=True)
class OutputFigures:
    """How one output compares with the module's, at worst over all cases; None if it was not measured.

    Attributes:
        max_abs_diff: Largest absolute difference.
        max_rel_diff: Largest absolute difference as a share of the output's scale.
        outside: Share of the elements outside the tolerance.
        needed_atol: The ``atol``, as a share of the scale, with which all elements would pass.
        top1_agreement: Share of rows whose largest element is at the same place.
        worst_ratio: Largest difference of each case as a share of the tolerance.
        ratios: Number of elements between the edges, by their difference as a share of the tolerance.
    """

    max_abs_diff: float | None = None
    max_rel_diff: float | None = None
    outside: float | None = None
    needed_atol: float | None = None
    top1_agreement: float | None = None
    worst_ratio: Mapping[str, float] = dataclasses.field(default_factory=dict)
    ratios: tuple[int, ...] = ()

    @classmethod
    def read(cls, fields: Fields) -> OutputFigures:
        """Read the record from its JSON."""
        return cls(
            fields.optional("max_abs_diff", float),
            fields.optional("max_rel_diff", float),
            fields.optional("outside", float),
            fields.optional("needed_atol", float),
            fields.optional("top1_agreement", float),
            fields.by_name("worst_ratio", float),
            fields.items("ratios", int),
        )


@dataclasses.dataclass(frozen=True)
class ComparisonFigures:
    """What a check measured that compares outputs.

    Attributes:
        outputs: How each output compares.
        cases: Labels of the compared cases.
        outcomes: How each case ended, by its label: passed, failed, warning or undecidable.
        problems: What is wrong, in clauses.
        warnings: What is wrong on values beyond those observed, in clauses; no failure of the check.
        ratio_edges: Edges between which ``ratios`` counts, ascending; 1 is the tolerance.
    """

    outputs: Mapping[str, OutputFigures] = dataclasses.field(default_factory=dict)
    cases: tuple[str, ...] = ()
    outcomes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    ratio_edges: tuple[float, ...] = ()

    @property
    def has_differences(self) -> bool:
        """Whether differences of outputs were measured."""
        return any(output.max_abs_diff is not None for output in self.outputs.values())

    @classmethod
    def find(cls, figures: Plain) -> ComparisonFigures:
        """Return what a check's figures say about outputs; empty if they have another form."""
        fields = Fields(figures, "figures")
        try:
            outputs = {name: OutputFigures.read(own) for name, own in fields.objects_by_name("outputs").items()}
            return cls(
                outputs,
                fields.items("cases", str),
                fields.by_name("outcomes", str),
                fields.items("problems", str),
                fields.items("warnings", str),
                fields.items("ratio_edges", float),
            )
        except ArtifactError:
            return cls()


@dataclasses.dataclass(frozen=True)
class VariantFigures:
    """What was measured of a variant; None if it was not.

    Attributes:
        size_ratio: Size of its files as a share of the model's.
        latency_ratio: Median time of a call as a share of the model's.
        worst_difference: Largest difference of an output from the module's, as a share of the output's scale.
        test_data_difference: The same on the test data, where nothing is judged if the variant has a limit of its own;
            of integers, the share of the elements that differ.
    """

    size_ratio: float | None
    latency_ratio: float | None
    worst_difference: float | None
    test_data_difference: float | None

    @classmethod
    def read(cls, fields: Fields) -> VariantFigures:
        """Read the record from its JSON."""
        return cls(*(fields.optional(field.name, float) for field in dataclasses.fields(cls)))


@dataclasses.dataclass(frozen=True)
class MetricFigures:
    """How a metric of the validation loop changes with a variant; None if a value is unknown or not finite.

    Attributes:
        module: The metric with the module.
        variant: The metric with the variant.
        drop: How much worse the variant is.
        allowed: The largest drop that passes; None if this metric does not decide.
        status: ``"passed"``, ``"failed"`` or ``"not judged"``.
        relative: Whether ``drop`` and ``allowed`` are shares of the module's value; None if unknown.
    """

    module: float | None
    variant: float | None
    drop: float | None
    allowed: float | None
    status: str
    relative: bool | None = None

    @classmethod
    def read(cls, fields: Fields) -> MetricFigures:
        """Read the record from its JSON."""
        return cls(
            fields.optional("module", float),
            fields.optional("variant", float),
            fields.optional("drop", float),
            fields.optional("allowed", float),
            fields.required("status", str),
            fields.optional("relative", bool),
        )


def runtime_of(figures: Plain) -> str:
    """Return the name and version of the runtime that a check used; empty if its figures do not say."""
    return f"{figures.get('runtime', '')} {figures.get('runtime_version', '')}".strip()
