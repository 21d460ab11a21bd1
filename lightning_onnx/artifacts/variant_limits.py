"""How much the outputs of a variant's file may differ, as the manifest beside it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lightning_onnx.artifacts.artifact import MANIFEST
from lightning_onnx.artifacts.file_digests import describe_file
from lightning_onnx.artifacts.foreign import read_json
from lightning_onnx.errors import ArtifactError
from lightning_onnx.manifest.fields import Fields
from lightning_onnx.manifest.figures import VariantFigures
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.results import VariantRecord


@dataclasses.dataclass(frozen=True)
class VariantLimit:
    """What a variant's own checks allowed.

    Attributes:
        name: Name of the variant.
        max_difference: How much floats may differ, as a share of their scale; also the share of integers that may.
        on_test_data: How much they differed on the test data when the variant was made, if that was more: no limit
            holds there, because a variant is judged by values like the observed ones.
    """

    name: str
    max_difference: float
    on_test_data: float | None = None

    @property
    def allowed(self) -> float:
        """How much outputs may differ on the test data: where they did already, by ``max_difference`` more."""
        return self.max_difference + (self.on_test_data or 0.0)


def limit_of(model: Path) -> VariantLimit | None:
    """Return the limit of a variant's file in an artifact.

    Args:
        model: The file. It may be any model.

    Returns:
        None if no manifest beside it has a variant with this content, or if that must be as close as the model.
    """
    found = [v for own in _records(model) for v in own.variants if v.file == model.name]
    allowed = _max_difference(found[0]) if found else None
    if allowed is None or found[0].sha256 != describe_file(model).sha256:
        return None
    return VariantLimit(found[0].name, allowed, _more_on_test_data(found[0], allowed))


def variants_of(model: Path) -> dict[str, Path]:
    """Return the files of a model's variants in its artifact by name.

    Args:
        model: The model, not one of its variants.
    """
    own = [record for record in _records(model) if record.model.file == model.name]
    return {v.name: model.with_name(v.file) for record in own for v in record.variants if v.file is not None}


def _records(model: Path) -> list[Manifest]:
    """Return what the manifest beside a model says of each method; nothing of a model on its own."""
    try:
        return list(Manifest.from_dict(read_json(model.parent / MANIFEST)).by_method.values())
    except (OSError, ValueError, ArtifactError):
        return []


def _max_difference(variant: VariantRecord) -> float | None:
    value = variant.options.get("max_difference")
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _more_on_test_data(variant: VariantRecord, allowed: float) -> float | None:
    """Return how much a variant differed on its test data; None if that is within its limit, or not known."""
    found = VariantFigures.read(Fields(variant.figures, "variants.figures")).test_data_difference
    return found if found is not None and found > allowed else None
