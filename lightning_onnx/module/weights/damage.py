"""Tells what is wrong with a checkpoint that cannot be read, and whether parts of it are not what was written."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

from lightning_onnx.errors import WeightsError

_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"


def check_parts(name: str, file: IO[bytes]) -> None:
    """Raise if the checksum of a part of a checkpoint is wrong; ``torch.load`` does not look at it.

    Args:
        name: What messages call the file.
        file: The open file; it is at its beginning again afterwards.

    Raises:
        WeightsError: If some are wrong. If all are, the file was written without (``set_crc32_options(False)``).
    """
    try:
        wrong, right = _by_checksum(file)
    except Exception:  # torch's own reader says what it cannot read
        return
    finally:
        file.seek(0)
    if wrong and right:
        raise WeightsError(
            f"the checkpoint {name!r} is damaged: the checksum of {wrong[0]!r} is wrong"
            f"{f', and of {len(wrong) - 1} more parts' if wrong[1:] else ''}. Copy the file again from where it was "
            "written, or give another checkpoint."
        )


def _by_checksum(file: IO[bytes]) -> tuple[list[str], list[str]]:
    """Return the names of the parts whose checksum is wrong, and of those whose checksum is right."""
    wrong: list[str] = []
    right: list[str] = []
    with zipfile.ZipFile(file) as archive:
        for part in archive.infolist():
            try:
                with archive.open(part) as content:
                    while content.read(2**20):
                        pass
            except zipfile.BadZipFile:
                wrong.append(part.filename)
            else:
                right += [part.filename] if part.file_size else []
    return wrong, right


def why_unreadable(place: Path | IO[bytes] | None) -> str | None:
    """Return what is wrong with a checkpoint that torch cannot read; None if nothing is seen.

    Args:
        place: The open file, or the directory of a sharded checkpoint; None if it could not be opened.
    """
    if place is None:
        return None
    if isinstance(place, Path):
        return None if (place / ".metadata").is_file() else "it is a directory without '.metadata'"
    place.seek(0)
    begins = place.read(4)
    size = place.seek(0, 2)
    if size == 0:
        return "it is empty"
    if begins == _ZIP and not zipfile.is_zipfile(place):
        return f"it ends too early, after {size} bytes: it was not written or copied to the end"
    if begins != _ZIP and not begins.startswith(_PICKLE):
        return "it is no file that torch.save has written"
    return None
