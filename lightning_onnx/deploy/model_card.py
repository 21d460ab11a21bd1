"""The model card for the Hugging Face Hub: metadata for its search and tables, and the report in Markdown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.report.report import Report
from lightning_onnx.report.snippet import snippet

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from lightning_onnx.deploy.hub import Hub

NAME = "README.md"
MARK = "<!-- made by lightning-onnx; it writes a card without this line no more -->"
_METRICS = "metrics/"


def render(artifact: ONNXArtifact, hub: Hub) -> str:
    """Return the card.

    Args:
        artifact: The artifact.
        hub: The repository, with the task of the model.
    """
    from huggingface_hub import ModelCardData

    record = artifact.record
    name = hub.repo_id.partition("/")[2]
    results = _results(record, hub.pipeline_tag)
    data = ModelCardData(
        library_name="onnx",
        tags=["onnx", "onnxruntime", "pytorch-lightning"],
        pipeline_tag=hub.pipeline_tag,
        license=record.metadata.get("license"),
        model_name=name if results else None,
        eval_results=results or None,
    )
    parts = [
        f"---\n{data.to_yaml()}\n---",
        MARK,
        f"# {name}",
        "Get the files, and run the model:",
        f"```python\n{_code(record, hub, name)}\n```",
        Report(artifact.manifest).markdown(),
    ]
    return "\n\n".join(parts)


def _code(record: Manifest, hub: Hub, name: str) -> str:
    lines = [
        "import os",
        "",
        "from huggingface_hub import snapshot_download",
        "",
        f"os.chdir(snapshot_download({hub.repo_id!r}, local_dir={name!r}))",
        "",
        "\n\n".join(_snippets(record)),
    ]
    return "\n".join(lines)


def _snippets(record: Manifest) -> list[str]:
    """Return the code that runs each method's model."""
    if not record.methods:
        return [snippet(record)]
    return [f"# {method}\n{snippet(own)}" for method, own in record.by_method.items()]


def _results(record: Manifest, task: str | None) -> list[EvalResult]:
    """Return the metrics of validation: with the file's outputs if they were measured, else the monitored one."""
    from huggingface_hub import EvalResult

    measured = {
        k.removeprefix(_METRICS): v
        for own in reversed(record.by_method.values())  # of several methods that answered, the first counts
        for k, v in own.scalars.items()
        if k.startswith(_METRICS)
    }
    source = record.source
    if not measured and source.monitor is not None and source.score is not None:
        measured = {source.monitor: source.score}
    return [
        EvalResult(
            task_type=task or "other",
            dataset_type="validation",
            dataset_name="validation",
            metric_type=name,
            metric_value=value,
        )
        for name, value in measured.items()
        if math.isfinite(value)
    ]
