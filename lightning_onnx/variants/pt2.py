"""A variant that is the captured program itself, as torch saves it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from lightning_onnx.checks.metric_names import Mode
from lightning_onnx.errors import VariantNotApplicable
from lightning_onnx.onnxfile import program_file
from lightning_onnx.onnxfile.head import read_head
from lightning_onnx.onnxfile.privacy import private_in
from lightning_onnx.onnxfile.specs import ModelSpecs
from lightning_onnx.option_names import known_options
from lightning_onnx.variants import base
from lightning_onnx.variants.base import Making


@known_options
@dataclasses.dataclass(frozen=True)
class PT2:
    """The program that ``model.onnx`` was translated from, saved by ``torch.export.save``; torch runs it.

    Its weights are those of ``model.onnx``, and it takes the same inputs in the same order. ``torch.export.load``,
    AOTInductor and ExecuTorch read it. Stack traces and example inputs, which hold source lines and training data, are
    left out. A graph of the TorchScript based engine has no such program, and neither has one that was joined from
    several; the variant is skipped then.

    Args:
        max_metric_drop: How much worse a metric may get: 0.01 is a hundredth of an accuracy, or 1% of an error.
        metric: The metric that decides; default: all logged metrics, but no losses where an accuracy is logged.
        name: Its file is ``model.<name>``; a name other than ``"pt2"`` is followed by ``.pt2``.
        metric_mode: ``"min"`` if lower values of ``metric`` are better, ``"max"`` if higher ones are; default: as
            ``ModelCheckpoint``, torchmetrics or the metric's name say.

    Example:
        >>> PT2().name
        'pt2'
    """

    max_metric_drop: float = 0.01
    metric: str | None = None
    name: str = "pt2"
    metric_mode: Mode | None = None
    max_difference: float | None = dataclasses.field(default=None, init=False)
    needs_validation: bool = dataclasses.field(default=False, init=False)  # parity is sufficient
    form: str = dataclasses.field(default="program", init=False)

    def __post_init__(self) -> None:
        """Check the options."""
        base.check_options(self)

    def make(self, making: Making, destination: Path) -> list[str]:
        """Save the program."""
        if making.save_program is None:
            raise VariantNotApplicable("no single program of torch.export made the graph, so there is none to save")
        metadata = {entry.key: entry.value for entry in read_head(making.model_path).metadata_props}
        described = program_file.description(ModelSpecs.read(making.model_path), metadata | {base.MARK: self.name})
        making.save_program(destination, {program_file.MEMBER: described})
        return []


def problems(original: str, variant: str) -> list[str]:
    """Read a program back, and return its problems: other inputs, outputs or metadata, or private data.

    Args:
        original: Path of ``model.onnx``, to compare with.
        variant: Path of the program.
    """
    found = []
    if program_file.read_specs(Path(variant)) != ModelSpecs.read(Path(original)):
        found.append(f"inputs or outputs differ from those of {Path(original).name}")
    was = {entry.key: entry.value for entry in read_head(Path(original)).metadata_props}
    now = program_file.read_metadata(Path(variant))
    lost = [key for key, value in was.items() if now.get(key) != value]
    if lost:
        found.append(f"metadata is lost or changed: {lost}")
    known = {found for value in was.values() for text in (value, *value.split()) for found in private_in(text)}
    private = [text for text in program_file.private_texts(Path(variant)) if text not in known]
    return found + [f"it contains private data: {text}" for text in private]
