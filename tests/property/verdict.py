"""The verdict on a seed: trains its module with ``ONNXExport``, checks the file, and compares it with the artifact."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader

from lightning_onnx import ONNXArtifact, ONNXExport, ONNXExportError
from tests.property.judge import Limits, judge
from tests.property.program import Program, make_inputs

Kind = Literal["right", "refused", "decides", "false alarm", "false pass", "error"]
"""The verdict on a seed.

- ``"right"``: passed, and right within what it tells;
- ``"refused"``: an error, a check that was skipped, or one that failed on a file that is wrong;
- ``"decides"``: the same, for a module that decides by values, and the reason says so;
- ``"false alarm"``: a check failed, and the file is right;
- ``"false pass"``: passed, and wrong within what it tells;
- ``"error"``: something was raised that is no error of the package.
"""


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The result of one module.

    Attributes:
        kind: See ``Kind``.
        reason: Why it was refused, or where the file is wrong.
        notes: The artifact's notes.
        static: Dims that training saw at several sizes and that are static in the file.
        engine: The engine.
        seconds: How long it took.
    """

    kind: Kind
    reason: str = ""
    notes: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    engine: str = ""
    seconds: float = 0.0

    @property
    def is_fault(self) -> bool:
        """Whether it has to be fixed."""
        return self.kind not in ("right", "decides")


class _Batches(torch.utils.data.Dataset[tuple[torch.Tensor, ...]]):
    """The rows of a program's batches, one after the other."""

    def __init__(self, program: Program) -> None:
        self.rows = [
            row
            for number, sizes in enumerate(program.observed)
            for row in zip(*make_inputs(program.takes, sizes, "normal", program.seed + 10 + number), strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return self.rows[index]


def verdict_of(program: Program) -> Verdict:
    """Train and export the module of a program, and check its file."""
    started = time.perf_counter()
    module = program.module()
    with tempfile.TemporaryDirectory() as directory:
        try:
            artifact = _train(program, module, directory)
        except ONNXExportError as error:
            return Verdict(_refused(program, str(error)), str(error), seconds=time.perf_counter() - started)
        manifest = artifact.manifest
        module.eval()
        wrong = judge(program, module, artifact.model_path, Limits.of(manifest))
        told = _told(manifest)
        wrong = [w for w in wrong if not (w.is_beyond and told.beyond) and not told.decides]
    failed = [c for c in manifest["checks"] if c["status"] == "failed"]
    skipped = [c for c in manifest["checks"] if c["status"] == "skipped"]
    examples = "; ".join(map(str, wrong[:3]))
    told_reasons = "; ".join(f"{c['name']} {c['status']}: {c['reason']}" for c in (*failed, *skipped))
    kind: Kind = "right"
    if failed:
        kind = _refused(program, told_reasons) if wrong else "false alarm"
    elif skipped:
        kind = "refused"
    elif wrong:
        kind = "false pass"
    return Verdict(
        kind,
        " | ".join(text for text in (told_reasons, examples) if text),
        tuple(manifest["notes"]),
        _static(program, artifact),
        manifest["model"]["engine"],
        time.perf_counter() - started,
    )


def _refused(program: Program, reason: str) -> Kind:
    says_so = "based on tensor values" in reason or "change the decision" in reason
    return "decides" if says_so and any(line.step.decides for line in program.lines) else "refused"


@dataclasses.dataclass(frozen=True)
class _Told:
    beyond: bool
    decides: bool


def _told(manifest: Mapping[str, Any]) -> _Told:
    """Return what the notes say about values that were not observed."""
    notes = " ".join(manifest["notes"])
    return _Told(beyond="beyond those observed" in notes, decides="changed the decision" in notes)


def _static(program: Program, artifact: ONNXArtifact) -> tuple[str, ...]:
    first = artifact.signature.inputs[0].shape
    dims = {"image": (0, 2, 3)}.get(program.takes, (0, 1))
    pairs = zip(program.observed[0], dims, strict=False)
    return tuple(
        name
        for name, place in pairs
        if isinstance(first[place], int) and len({sizes[name] for sizes in program.observed}) > 1
    )


@contextlib.contextmanager
def _quiet_lightning() -> Iterator[None]:
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _train(program: Program, module: pl.LightningModule, directory: str) -> ONNXArtifact:
    rows = program.observed[0]["batch"]
    loader = DataLoader(_Batches(program), batch_size=rows)
    export = ONNXExport(dirpath=directory)
    with _quiet_lightning(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            max_epochs=1,
            accelerator="cpu",
            callbacks=[export],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=directory,
        )
        trainer.fit(module, loader, loader)
    if export.artifact is None:
        raise ONNXExportError(f"no artifact: {export.failures}")
    return export.artifact
