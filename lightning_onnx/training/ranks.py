"""How other ranks wait for rank zero, which may take longer than a collective operation is allowed to take."""

from __future__ import annotations

import itertools
import time

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import distributed

from lightning_onnx.errors import ONNXExportError

LIMIT = 4 * 3600.0
"""Seconds after which another rank gives up; collectives give up after minutes."""

_LONGEST_PAUSE = 0.5
"""Seconds between two looks at the store."""

_INTERRUPTED = "interrupted"

_numbers = itertools.count()
"""Every rank counts the same meetings, so each has a key of its own."""


def wait_for_rank_zero(trainer: Trainer, limit: float = LIMIT, *, is_interrupted: bool = False) -> None:
    """On rank zero, tell the others to go on; on another rank, wait for that.

    They wait for a key in the store of the process group, and not in a collective: signals arrive meanwhile.

    Args:
        trainer: The trainer.
        limit: Time limit of the other ranks in seconds.
        is_interrupted: Whether rank zero was interrupted, and will take part in nothing that follows.

    Raises:
        ONNXExportError: If rank zero takes longer, or was interrupted.
        SIGTERMException: If SIGTERM arrives meanwhile.
        RuntimeError: If rank zero has died, and its store with it.
    """
    if trainer.world_size == 1 or not distributed.is_available() or not distributed.is_initialized():
        return
    store, key = distributed.distributed_c10d._get_default_store(), f"lightning_onnx/{next(_numbers)}"
    if trainer.is_global_zero:
        store.set(key, _INTERRUPTED if is_interrupted else "done")
        return
    deadline, pause = time.monotonic() + limit, 0.01
    while not store.check([key]):
        if trainer.received_sigterm:
            raise SIGTERMException
        if time.monotonic() > deadline:
            raise ONNXExportError(f"rank zero has not finished its ONNX export within {limit:g} s")
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
    if store.get(key).decode() == _INTERRUPTED:
        raise ONNXExportError("rank zero was interrupted during its ONNX export")
