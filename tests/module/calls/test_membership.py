"""Whether a method gets parts of batches is seen in its first calls, and costs nothing afterwards."""

from __future__ import annotations

import torch

from lightning_onnx.module.calls.membership import Membership


def test_only_the_first_calls_are_looked_at() -> None:
    membership, image = Membership(), torch.zeros(2, 3)
    for _ in range(20):
        membership.see_batch([image])
        membership.see_call([image * 2, torch.zeros(0)])
    membership.see_batch([image])
    membership.see_call([image])
    assert not membership.is_seen


def test_a_batch_is_not_kept_alive() -> None:
    membership = Membership()
    membership.see_batch([torch.zeros(2, 3)])
    membership.see_call([torch.zeros(2, 3)])
    assert not membership.is_seen
