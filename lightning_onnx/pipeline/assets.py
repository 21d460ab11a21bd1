"""Files that callers need beside the model, such as a tokenizer's: checked early, and copied into the artifact."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from lightning_onnx.artifacts.foreign import MOST_FILES, is_valid_name
from lightning_onnx.errors import ArtifactError, ConfigurationError

DIRECTORY = "assets"


def check_assets(assets: object) -> None:
    """Raise unless each of the assets is a file or directory with a name of its own.

    Args:
        assets: The option.

    Raises:
        ConfigurationError: If one of them is missing, two have the same name, or a name is invalid in an artifact.
    """
    if not isinstance(assets, (list, tuple)) or not all(isinstance(asset, (str, os.PathLike)) for asset in assets):
        raise ConfigurationError(f"assets={assets!r} is not a list of paths. Give one such as ['tokenizer.json'].")
    names = [Path(asset).name for asset in assets]
    if not all(names):
        raise ConfigurationError(f"assets={assets!r} has a path without a name. Give one such as 'tokenizer.json'.")
    missing = [str(asset) for asset in assets if not Path(asset).exists()]
    if missing:
        raise ConfigurationError(f"assets has {missing}, which do not exist. Write them before, or correct the paths.")
    if len(set(names)) < len(names):
        raise ConfigurationError(f"assets has two of the same name: {names}. Rename one of them.")
    contained = [name for asset in assets for name in _names(Path(asset))]
    if len(contained) > MOST_FILES // 2:
        raise ConfigurationError(
            f"assets has {len(contained)} files; at most {MOST_FILES // 2} are copied. Give one archive of them."
        )
    invalid = [name for name in contained if not is_valid_name(name)]
    if invalid:
        raise ConfigurationError(
            f"assets has the names {invalid}, with a backslash or characters that cannot be printed. Rename them."
        )


def _names(asset: Path) -> Iterator[str]:
    """Yield the name of an asset, and of what is in it."""
    yield asset.name
    for path in asset.rglob("*"):
        yield path.relative_to(asset).as_posix()


def copy_assets(assets: Sequence[str | os.PathLike[str]], staged: Path) -> tuple[str, ...]:
    """Copy files and directories into an artifact; return their files, by path relative to the artifact.

    Args:
        assets: The files and directories.
        staged: The artifact's directory in the making.

    Raises:
        ArtifactError: If one of them cannot be read.
    """
    for asset in map(Path, assets):
        target = staged / DIRECTORY / asset.name
        try:
            target.parent.mkdir(exist_ok=True)
            shutil.copytree(asset, target) if asset.is_dir() else shutil.copyfile(asset, target)
        except OSError as error:
            raise ArtifactError(f"the asset {asset.name} cannot be copied: {error}. Check the path.") from error
    found = (path for path in (staged / DIRECTORY).rglob("*") if path.is_file())
    return tuple(sorted(path.relative_to(staged).as_posix() for path in found))
