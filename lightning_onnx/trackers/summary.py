"""What a manifest says in single values, for trackers that keep a flat table beside a model."""

from __future__ import annotations

from lightning_onnx.artifact import ONNXArtifact


def summary(artifact: ONNXArtifact) -> dict[str, str | int | float]:
    """Return the manifest's figures that people compare models by; what is unknown is left out.

    Args:
        artifact: The artifact.

    Returns:
        ``opset``, ``engine``, ``sha256``, ``signature``; ``epoch``, ``monitor``, ``score`` and the like; each check's
        status by its name; the scalars of the loggers without ``onnx/``.
    """
    manifest = artifact.manifest
    return {
        **{key: manifest["model"][key] for key in ("opset", "ir_version", "engine", "sha256")},
        "signature": str(artifact.signature),
        **{key: value for key, value in manifest["source"].items() if value is not None},
        **{check["name"]: check["status"] for check in manifest["checks"]},
        **manifest["scalars"],
    }
