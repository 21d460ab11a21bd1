"""Where Ray keeps the results of a run; looked up only in programs that have imported Ray."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from lightning_onnx.notices import warn

_CONTEXTS = ("ray.train", "ray.tune")


def kept_by_ray(dirpath: str) -> str:
    """Return where the artifacts of a Ray worker go by default.

    A worker of Ray Train, or of a trial of Ray Tune, runs in a working directory that Ray does not keep.

    Args:
        dirpath: The default outside of Ray.

    Returns:
        The same path below the directory of the run or trial in Ray's storage, if this is a Ray worker, ``dirpath``
        lies in its working directory, and the storage is on a disk; otherwise ``dirpath``.
    """
    if not any(name in sys.modules for name in _CONTEXTS):
        return dirpath
    here = Path.cwd()
    if "://" in dirpath or not Path(dirpath).absolute().is_relative_to(here):
        return dirpath
    inside = Path(dirpath).absolute().relative_to(here)
    for name in _CONTEXTS:
        try:
            storage = sys.modules[name].get_context().get_storage()
            is_local = storage.storage_filesystem.type_name == "local"
            # A trial of Ray Tune has its own directory in that of the experiment; a run of Ray Train is an experiment.
            folder = str(getattr(storage, "trial_fs_path", storage.experiment_fs_path))
        except Exception:  # this is no such worker, which Ray tells by different errors
            continue
        if is_local:
            return os.path.join(folder, inside)
        warn(
            f"ONNX export: the artifacts go to {dirpath}, which Ray does not keep, because Ray's storage is not on a "
            "disk. Give ONNXExport a dirpath there."
        )
    return dirpath
