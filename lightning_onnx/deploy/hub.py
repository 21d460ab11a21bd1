"""The Hugging Face Hub: the right to write is checked early, and an artifact becomes one commit."""

from __future__ import annotations

import contextlib
import dataclasses
import posixpath
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_onnx.artifacts import foreign
from lightning_onnx.artifacts.artifact import MANIFEST, ONNXArtifact
from lightning_onnx.deploy import model_card
from lightning_onnx.deploy.interruptible import interruptible
from lightning_onnx.errors import ArtifactError, ConfigurationError, first_line
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.notices import warn
from lightning_onnx.option_values import check_choice

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_REPOSITORY_FILES = (model_card.NAME, ".gitattributes")
"""Files in the root of a repository that describe it, and belong to no artifact."""

_REPO_ID = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


@dataclasses.dataclass(frozen=True)
class Hub:
    """A model repository on the Hugging Face Hub.

    Args:
        repo_id: ``"user/name"``, or an organization's name in place of the user's.
        private: Whether a repository that does not exist yet is made private.
        pipeline_tag: The task for the model card, such as ``"image-classification"``.

    Raises:
        ConfigurationError: If an argument is invalid.

    Example:
        >>> Hub("user/digits", pipeline_tag="image-classification").private
        True
    """

    repo_id: str
    private: bool = True
    pipeline_tag: str | None = None

    def __post_init__(self) -> None:
        """Check the arguments."""
        if not isinstance(self.repo_id, str) or not _REPO_ID.fullmatch(self.repo_id):
            raise ConfigurationError(f"hub={self.repo_id!r} is not a repository. Give one such as 'user/name'.")
        check_choice(self, "private", (True, False))
        tag = self.pipeline_tag
        if tag is not None and not (isinstance(tag, str) and re.fullmatch(r"[a-z0-9-]+", tag)):
            raise ConfigurationError(
                f"Hub(pipeline_tag={self.pipeline_tag!r}) is not a task. Give one such as 'image-classification'."
            )

    def command(self, place: str) -> str:
        """Return the command line that pushes an artifact to this repository."""
        options = [] if self.private else ["--public"]
        options += ["--pipeline-tag", self.pipeline_tag] if self.pipeline_tag else []
        return shlex.join(["lightning-onnx", "push", place, self.repo_id, *options])


def make_writable(hub: Hub) -> None:
    """Check that the repository can be written; it is made if it does not exist, which is the only complete check.

    Raises:
        ConfigurationError: If huggingface_hub is not installed, or the token is missing, invalid, or may not write.
    """
    api = _api()
    from huggingface_hub import get_token
    from huggingface_hub.errors import RepositoryNotFoundError

    advice = "Log in (hf auth login), or set HF_TOKEN"
    if get_token() is None:
        raise ConfigurationError(f"{hub.repo_id!r} on the Hub: no token was found. {advice}.")
    with _refused(hub, "the token is invalid", advice):
        api.whoami()
    advice = "Use a token that may write to it, or another repository"
    with _refused(hub, "it cannot be written with this token", advice):
        try:
            api.auth_check(hub.repo_id, write=True)
        except RepositoryNotFoundError:  # also if it is private and somebody else's: then it cannot be made
            api.create_repo(hub.repo_id, private=hub.private)


def push(artifact: ONNXArtifact, hub: Hub, folder: str = "", place: str | None = None) -> str:
    """Upload an artifact with a model card to a repository that ``make_writable`` has checked, in one commit.

    Files of the artifact that is there, as its manifest names them, are removed if the new one lacks them. All other
    files stay, and so does a card that was not made by this package: no manifest can name it.

    Args:
        artifact: The artifact.
        hub: The repository.
        folder: Where in the repository; the root has the card.
        place: Path or URL where the artifact stays, to name in an error; default: its directory.

    Returns:
        The URL of the commit.

    Raises:
        ArtifactError: If the upload fails, or the artifact has a file in the place of the card.
    """
    api = _api()
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    prefix = f"{folder}/" if folder else ""
    if taken := [name for name in artifact.record.files if _is_of_repository(f"{prefix}{name}")]:
        raise ArtifactError(
            f"{artifact.name} was not uploaded to {hub.repo_id}: it has the file {taken[0]!r}, which there describes "
            "the repository. Export again; no artifact of this package has it."
        )
    try:
        before = set(api.list_repo_files(hub.repo_id))
        files = [*artifact.record.files, MANIFEST]
        added = [CommitOperationAdd(f"{prefix}{name}", str(artifact.directory / name)) for name in files]
        if not folder and _may_write_card(api, hub, before):
            added.append(CommitOperationAdd(model_card.NAME, model_card.render(artifact, hub).encode("utf-8")))
        gone = before - {operation.path_in_repo for operation in added}
        removed = [CommitOperationDelete(name) for name in sorted(gone & _earlier_files(api, hub, before, prefix))]
        message = f"ONNX model {artifact.name}"
        commit = interruptible(lambda: api.create_commit(hub.repo_id, [*added, *removed], commit_message=message))
    except Exception as error:  # of the client, of the network and of files
        raise ArtifactError(
            f"{artifact.name} was not uploaded to {hub.repo_id} ({first_line(error)}). Try again: "
            f"{hub.command(place or str(artifact.directory))}"
        ) from error
    return str(commit.commit_url)


def _earlier_files(api: HfApi, hub: Hub, files: set[str], prefix: str) -> set[str]:
    """Return the files of the artifact that is there now; every other file is the user's."""
    if f"{prefix}{MANIFEST}" not in files:
        return set()
    with _downloaded(api, hub, f"{prefix}{MANIFEST}") as manifest:
        try:
            earlier = Manifest.from_dict(foreign.read_json(manifest))
        except (ValueError, ArtifactError) as error:
            warn(f"{hub.repo_id}: no file is removed, because its {MANIFEST} cannot be read ({first_line(error)})")
            return set()
    return {path for name in earlier.files if not _is_of_repository(path := f"{prefix}{name}")}


def _is_of_repository(path: str) -> bool:
    """Tell whether a file describes the repository, however a manifest spells its path."""
    return posixpath.normpath(path).lower() in map(str.lower, _REPOSITORY_FILES)


def _may_write_card(api: HfApi, hub: Hub, files: set[str]) -> bool:
    """Tell whether there is no card yet, or one that this package made."""
    if model_card.NAME not in files:
        return True
    with _downloaded(api, hub, model_card.NAME) as card:
        return model_card.MARK in card.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def _downloaded(api: HfApi, hub: Hub, name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="lightning-onnx-") as place:
        yield Path(api.hf_hub_download(hub.repo_id, name, local_dir=place))


def _api() -> HfApi:
    try:
        from huggingface_hub import HfApi
    except ImportError as error:
        raise ConfigurationError(
            "huggingface_hub is not installed. Install it: pip install 'lightning-onnx[hub]'"
        ) from error
    return HfApi(library_name="lightning-onnx")


@contextlib.contextmanager
def _refused(hub: Hub, what: str, advice: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # of the client and of the network
        raise ConfigurationError(f"{hub.repo_id!r} on the Hub: {what} ({first_line(error)}). {advice}.") from error
