"""The files that make an artifact's directory an MLflow model: ``MLmodel``, input example, requirements."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.module.calls.signature import TensorSpec

if TYPE_CHECKING:
    from mlflow.models import Model, ModelSignature
    from mlflow.types import TensorSpec as MLflowSpec

_LARGEST_EXAMPLE = 2**20
"""Most numbers in an input example, which is JSON and is loaded with the model's page."""


def write_model_files(artifact: ONNXArtifact, directory: Path, *, model_id: str, run_id: str) -> None:
    """Write what MLflow needs besides the artifact's own files, which stay byte for byte as they were checked.

    MLflow loads one model: of several methods, the first. The others are files beside it.

    `mlflow.onnx.save_model` would serialize the model again: other bytes, and its external data renamed.

    Args:
        artifact: The artifact with the model.
        directory: Where to write.
        model_id: The LoggedModel.
        run_id: The run that made it.
    """
    import mlflow
    from mlflow.models import Model

    model = Model(metadata={"onnx_sha256": artifact.record.model.digest.sha256}, model_id=model_id, run_id=run_id)
    model.signature = model_signature(artifact)
    if example := input_example(artifact):
        _save_example(model, example, directory)
    versions = {**artifact.record.versions, "mlflow": mlflow.__version__}
    _write_environment(directory, versions)
    file = artifact.model_path.name
    mlflow.pyfunc.add_to_model(model, loader_module="mlflow.onnx", data=file, python_env="python_env.yaml")
    model.add_flavor("onnx", onnx_version=versions["onnx"], data=file)
    model.model_size_bytes = sum(file.bytes for file in artifact.record.files.values())
    model.save(str(directory / "MLmodel"))


def model_signature(artifact: ONNXArtifact) -> ModelSignature | None:
    """Return the model's signature; None if numpy lacks one of its dtypes, or it has no inputs."""
    from mlflow.models import ModelSignature
    from mlflow.types import Schema

    inputs, outputs = artifact.signature.inputs, artifact.signature.outputs
    # numpy knows bfloat16 only if ml_dtypes is imported, which may not be installed where the model is loaded.
    if not inputs or any(spec.dtype == "bfloat16" for spec in (*inputs, *outputs)):
        return None
    return ModelSignature(inputs=Schema([_spec(s) for s in inputs]), outputs=Schema([_spec(s) for s in outputs]))


def input_example(artifact: ONNXArtifact) -> dict[str, Any]:
    """Return the inputs of the artifact's test data by name; empty if there are none, or too many numbers."""
    import onnx
    from onnx import numpy_helper

    paths = [artifact.test_data / f"input_{i}.pb" for i in range(len(artifact.signature.inputs))]
    # Zeros of the signature's shapes would need no test data, but not every module accepts them.
    if not all(path.is_file() for path in paths):
        return {}
    tensors = [onnx.load_tensor(str(path)) for path in paths]
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}
    plain = all(array.dtype.kind in "biuf" for array in arrays.values())
    return arrays if plain and sum(array.size for array in arrays.values()) <= _LARGEST_EXAMPLE else {}


def _spec(spec: TensorSpec) -> MLflowSpec:
    from mlflow.types import TensorSpec as MLflowSpec

    return MLflowSpec(np.dtype(spec.dtype), tuple(-1 if isinstance(d, str) else d for d in spec.shape), spec.name)


def _save_example(model: Model, example: dict[str, Any], directory: Path) -> None:
    from mlflow.models.utils import _save_example as save  # mlflow has no other way without an active run

    save(model, example, str(directory))


def _write_environment(directory: Path, versions: dict[str, str]) -> None:
    """Write what `mlflow models serve` installs to run the file; torch is not needed."""
    import platform

    pins = (f"{name}=={versions[name]}" for name in ("mlflow", "onnx", "onnxruntime") if versions[name] != "unknown")
    (directory / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    python = f'python: "{platform.python_version()}"\ndependencies:\n- -r requirements.txt\n'
    (directory / "python_env.yaml").write_text(python, encoding="utf-8")
