"""The artifact: the directory of one export, verified when it is loaded.

One file, though it is long: the methods are short, and they are what people find on an artifact.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from lightning_onnx.artifacts import foreign
from lightning_onnx.artifacts.data_set import folder_of
from lightning_onnx.artifacts.file_digests import Reader
from lightning_onnx.errors import ArtifactError, InputError, did_you_mean, first_line
from lightning_onnx.manifest.fused import why_no_inner_part
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.methods import scalars_of
from lightning_onnx.module.calls.signature import Signature
from lightning_onnx.onnxfile.specs import PROGRAM_SUFFIX
from lightning_onnx.report.report import Report
from lightning_onnx.report.shape_ranges import ShapeRanges

if TYPE_CHECKING:
    from torch import nn

    from lightning_onnx.onnxfile.specs import ModelSpecs
    from lightning_onnx.runtimes.worker.client import HostedSession

MODEL = "model.onnx"
MANIFEST = "manifest.json"
TEST_DATA = "test_data_set_0"
_LONGEST = 200  # letters of a signature that are printed
_ENDS = {"passed": "was not kept", "failed": "failed", "skipped": "was skipped"}


@dataclasses.dataclass(frozen=True)
class ONNXArtifact:
    """One export on disk.

    Of an artifact of several methods, ``verify``, ``passed``, ``proven``, ``report``, ``scalars`` and ``as_module``
    include all of them. Everything else is that of the first method; ``method`` returns that of another.

    Attributes:
        directory: Its directory.
        manifest: What ``manifest.json`` says, in plain values.

    Example:
        >>> artifact = ONNXArtifact.load("logs/onnx/epoch=2-step=90")  # doctest: +SKIP
        >>> artifact.signature.inputs[0].name  # doctest: +SKIP
        'x'
    """

    directory: Path
    manifest: dict[str, Any]

    def __repr__(self) -> str:
        """Return where it is, its signature and the verdict; the manifest is too long to print."""
        try:
            records = self.record.by_method
            named = [
                f"{name}{own.signature}" if len(records) > 1 else str(own.signature) for name, own in records.items()
            ]
            lines = [*(line[:_LONGEST] for line in named), self.report.summary]
        except ArtifactError as error:
            lines = [str(error)]
        return "\n  ".join([f"ONNXArtifact({str(self.directory)!r})", *lines])

    def __getstate__(self) -> dict[str, Any]:
        """Leave out loaded models."""
        return {name: value for name, value in self.__dict__.items() if name not in ("_sessions", "_by_method")}

    def _repr_html_(self) -> str:
        """Show the report in a notebook."""
        return self.report._repr_html_()

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> ONNXArtifact:
        """Read an artifact and verify the size and digest of each of its files.

        Args:
            directory: The artifact's directory.

        Raises:
            ArtifactError: If it is not an artifact, its format is a later one, a field of its manifest is invalid, or a
                file is missing or altered.
        """
        if not isinstance(directory, (str, os.PathLike)):
            raise ArtifactError(f"{directory!r} is not a path. Give the directory of an artifact.")
        root = Path(directory)
        try:
            manifest = foreign.read_json(root / MANIFEST)
        except (FileNotFoundError, NotADirectoryError) as error:
            problem = f"it has no {MANIFEST}" if root.is_dir() else "there is no such directory"
            raise ArtifactError(
                f"{root} is not an artifact: {problem}. Give the directory that holds {MANIFEST}."
            ) from error
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{root} is not an artifact: {MANIFEST} cannot be read ({first_line(error)}). Give the directory that "
                "holds it."
            ) from error
        artifact = cls(root, manifest)
        artifact.verify()
        return artifact

    @functools.cached_property
    def record(self) -> Manifest:
        """The manifest as a typed record.

        Raises:
            ArtifactError: If its format is a later one, or a field of it is missing or has the wrong type.
        """
        try:
            return Manifest.from_dict(self.manifest)
        except ArtifactError as error:
            raise ArtifactError(f"{self.directory} cannot be used: {error}") from error

    def verify(self) -> None:
        """Compare every file with its size and digest in the manifest.

        Raises:
            ArtifactError: If a file is missing, has another size or digest, or is outside the directory.
        """
        models, files, reader = self.record.model_files, self.record.files, Reader()
        if len(files) > foreign.MOST_FILES:
            raise ArtifactError(
                f"{self.directory} names {len(files)} files; at most {foreign.MOST_FILES} are looked up. Export again "
                "with assets in an archive."
            )
        paths = {name: foreign.checked_name(self.directory, name) for name in (*files, *models)}
        for name in models:
            self._check_listed(name)
        for name, expected in files.items():
            try:
                found = reader.describe(paths[name], expected.bytes) if paths[name].is_file() else None
            except OSError as error:
                raise ArtifactError(f"{paths[name]} cannot be read: {error}. Check its permissions.") from error
            if found != expected:
                what = "is missing" if found is None else f"is {found}, the manifest says {expected}"
                raise ArtifactError(f"{paths[name]} {what}. Export again, or copy the directory as a whole.")
        for model in (name for name in models if not name.endswith(PROGRAM_SUFFIX)):
            for location in foreign.weights_beside(paths[model]):
                beside = foreign.checked_name(paths[model].parent, location).relative_to(paths[model].parent)
                self._check_listed((PurePosixPath(model).parent / beside.as_posix()).as_posix())

    def _check_listed(self, name: str) -> None:
        if name not in self.record.files:
            raise ArtifactError(
                f"{self.directory} is not an artifact: the manifest is invalid: files lacks {name}. Export again."
            )

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.directory / self.record.model.file

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of the exported methods."""
        return tuple(self.record.by_method)

    def method(self, name: str) -> ONNXArtifact:
        """Return one of the exported methods, as if it had the artifact to itself.

        Args:
            name: Name of the method.

        Raises:
            ArtifactError: If it was not exported.

        Example:
            >>> artifact.method("decode").run(z)  # doctest: +SKIP
        """
        if name not in self._by_method:
            nearest = did_you_mean(name, self.methods)
            raise ArtifactError(f"{self.directory} has no method {name!r}{nearest} It has {', '.join(self.methods)}.")
        return self._by_method[name]

    @functools.cached_property
    def _by_method(self) -> dict[str, ONNXArtifact]:
        records = self.record.by_method
        if len(records) == 1:
            return dict.fromkeys(records, self)
        return {name: ONNXArtifact(self.directory, record.to_dict()) for name, record in records.items()}

    @property
    def test_data(self) -> Path:
        """The directory of the test data of the model; it does not exist if there are none."""
        return folder_of(self.model_path) / TEST_DATA

    def variant_path(self, name: str) -> Path:
        """Return the file of a variant: an ONNX file, or the ``.pt2`` file of ``"pt2"``.

        Args:
            name: Name of the variant, such as ``"int8"``.

        Raises:
            ArtifactError: If there is no such variant, or it did not pass.
        """
        known = {variant.name: variant for variant in self.record.variants}
        if name not in known:
            raise ArtifactError(
                f"{self.directory} has no variant {name!r}; it has {', '.join(known) or 'none'}. Export with variants=…"
            )
        variant = known[name]
        if variant.status != "passed" or variant.file is None:
            raise ArtifactError(
                f"the variant {name!r} of {self.directory} has no file, because it {_ENDS[variant.status]}: "
                f"{variant.reason}. Use model_path, or export with another budget for the variant."
            )
        return self.directory / variant.file

    @property
    def name(self) -> str:
        """Name of the directory."""
        return self.directory.name

    @property
    def signature(self) -> Signature:
        """Inputs and outputs of the model."""
        return self.record.signature

    @property
    def shape_ranges(self) -> ShapeRanges:
        """Minimum, usual and maximum size of each dynamic dim, and the options that say so to runtimes.

        Example:
            >>> options = artifact.shape_ranges.tensorrt_provider_options()  # doctest: +SKIP
            >>> InferenceSession(path, providers=[("TensorrtExecutionProvider", options)])  # doctest: +SKIP
        """
        return ShapeRanges.of(self.record)

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.status != "failed" for own in self.record.by_method.values() for check in own.checks)

    @property
    def proven(self) -> bool:
        """Whether parity was checked and passed; of several methods, for each of them."""
        return all(
            any(check.name == "parity" and check.status == "passed" for check in own.checks)
            for own in self.record.by_method.values()
        )

    @property
    def report(self) -> Report:
        """The report on the artifact, as text, Markdown and HTML."""
        return Report(self.manifest)

    def run(self, *args: Any, runtime: str = "onnxruntime", **kwargs: Any) -> Any:
        """Run the model on the arguments of the exported method, and return the structure of its result.

        Args:
            args: The method's arguments that hold tensors of the graph, in their order: tensors or arrays, or the
                dicts, lists and objects that the module took. What the graph does not use may be missing.
            runtime: The runtime that runs the file; see ``lightning_onnx.runtimes.base.RUNTIMES``.
            kwargs: Arguments by name.

        Returns:
            Arrays in dicts and lists. Classes of the module's own become dicts by field.

        Raises:
            InputError: If the arguments lack something that the graph needs, or have other dtypes or sizes.
            RuntimeUnavailable: If the runtime is not installed, or has no device.

        Example:
            >>> artifact.run({"image": images})["logits"].argmax(1)  # doctest: +SKIP
        """
        from lightning_onnx.artifacts import running

        inputs = self._specs.checked(running.inputs_of(self.record, args, kwargs))
        return running.result_of(self.record, self._session(runtime).run(inputs))

    def as_module(self, module: nn.Module, runtime: str = "onnxruntime", variant: str | None = None) -> nn.Module:
        """Return a copy of the module whose exported methods are answered by files, for ``Trainer.test`` and others.

        The methods' results have the module's own classes: it still runs, and floats that the file does not return are
        NaN. A method whose graph has preprocessing or postprocessing takes raw inputs and returns tensors in dicts and
        lists, for ``Trainer.predict`` on raw batches.

        Args:
            module: A module of the exported class; it is not changed.
            runtime: As for ``run``.
            variant: Name of the variant whose file answers, such as ``"int8"``; default: the model. The file of
                ``"pt2"`` runs in torch.

        Raises:
            InputError: If it is not a module with these methods; when the copy is to be trained; and when the module
                returns other sizes than the file.
            ArtifactError: If there is no such variant, or it did not pass.
            RuntimeUnavailable: As for ``run``.

        Example:
            >>> trainer.test(artifact.as_module(module), datamodule=data)  # doctest: +SKIP
            >>> trainer.test(artifact.as_module(module, variant="int8"), datamodule=data)  # doctest: +SKIP
        """
        import torch

        from lightning_onnx.artifacts.stand_in import ExportedCall, answered_by, answered_raw

        if not isinstance(module, torch.nn.Module):
            raise InputError(
                f"as_module() takes a torch.nn.Module, got {type(module).__name__}. Give the module itself."
            )
        if self.record.fused is not None:
            session = self._session(runtime, variant)
            return answered_raw(module, self.record, lambda raw: session.run(self._specs.checked(raw)))
        methods = self._by_method.values()
        return answered_by(module, [(ExportedCall.of(own.record), own._session(runtime, variant)) for own in methods])

    def save_inner_part(self, path: str | os.PathLike[str]) -> Path:
        """Write the part of the graph between preprocessing and postprocessing to a file of its own.

        Args:
            path: The new ONNX file.

        Raises:
            ArtifactError: If the graph has no preprocessing and postprocessing, or the part cannot be run by itself.

        Example:
            >>> artifact.save_inner_part("prepared.onnx")  # doctest: +SKIP
        """
        from lightning_onnx.onnxfile.part import extract

        fused = self.record.fused
        if fused is None or not fused.inner_inputs:
            raise ArtifactError(f"{self.directory} {why_no_inner_part(fused, self.record.checks)}")
        extract(self.model_path, fused.inner_inputs, fused.inner_outputs, Path(path))
        return Path(path)

    def _session(self, runtime: str, variant: str | None = None) -> HostedSession:
        """Return the loaded model, or a variant of it: loaded once in each runtime, and after a call that ended it."""
        path = self.model_path if variant is None else self.variant_path(variant)
        loaded = self._sessions.get((runtime, path))
        if loaded is None or loaded.has_ended:
            from lightning_onnx.runtimes.base import program_for
            from lightning_onnx.runtimes.worker import client

            self._sessions[runtime, path] = client.hosted(program_for(path, runtime)).load(path)
        return self._sessions[runtime, path]

    @functools.cached_property
    def _specs(self) -> ModelSpecs:
        from lightning_onnx.onnxfile.specs import ModelSpecs

        return ModelSpecs.read(self.model_path)

    @functools.cached_property
    def _sessions(self) -> dict[tuple[str, Path], HostedSession]:
        return {}

    def scalars(self) -> dict[str, float]:
        """Return the numbers for loggers; their names begin with ``onnx/``, of several methods ``onnx/<method>/``."""
        return {f"onnx/{name}": float(value) for name, value in scalars_of(self.record).items()}
