"""The figures of an artifact of several methods, as loggers get them."""

from __future__ import annotations

from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.onnxfile.shared_weights import SHARED


def scalars_of(manifest: Manifest) -> dict[str, float]:
    """Return the scalars of an artifact by name; of several methods, each has its own below ``<method>/``.

    Without a method in their name stand ``size_mib`` and ``export_seconds`` of the whole artifact, and
    ``parity_passed`` and the like, which are 1 only if they are 1 for each method.

    Args:
        manifest: The artifact's manifest.
    """
    records = manifest.by_method
    if len(records) == 1:
        return dict(manifest.scalars)
    found: dict[str, float] = {}
    for method, record in records.items():
        for name, value in record.scalars.items():
            if name != "export_seconds":
                found[f"{method}/{name}"] = value
            if name.endswith("_passed"):
                found[name] = min(value, found.get(name, value))
    whole = {"export_seconds": manifest.scalars["export_seconds"]} if "export_seconds" in manifest.scalars else {}
    return {**found, **whole, "size_mib": sum(_bytes(manifest)) / 2**20}


def _bytes(manifest: Manifest) -> list[int]:
    """Return the sizes of all models and of the files of their weights, each once."""
    models = [record.model.file for record in manifest.by_method.values()]
    names = {SHARED, *models, *(f"{model}.data" for model in models)}
    return [file.bytes for name, file in manifest.files.items() if name in names]
