"""Damaged checkpoints are read in ``test_checkpoint_file.py``; here is what is let pass."""

from __future__ import annotations

import io

from lightning_onnx.module.weights.damage import check_parts, why_unreadable


def test_what_is_no_archive_is_left_to_torch() -> None:
    file = io.BytesIO(b"\x80\x02 an old checkpoint")
    check_parts("old.ckpt", file)
    assert file.tell() == 0
    assert why_unreadable(file) is None
    assert why_unreadable(None) is None
