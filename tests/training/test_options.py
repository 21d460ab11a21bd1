"""Options of the callback itself: an invalid value raises at once, and the message lists valid ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lightning_onnx import ConfigurationError, ONNXExport


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "last"}, r"weights='last'.*'best', 'live'"),
        ({"preflight": "never"}, "preflight='never'"),
        ({"preflight": True}, "preflight=True"),
        ({"on_failure": "ignore"}, "on_failure='ignore'"),
        ({"on_exception": "yes"}, "on_exception='yes'"),
        ({"log_artifacts": "some"}, "log_artifacts='some'"),
        ({"filename": "a/b"}, "not the name of a directory"),
        ({"checkpoint": "best.ckpt"}, "is not a ModelCheckpoint"),
        ({"background": None}, "background=None is invalid. Choose one of True, False"),
        ({"when": "checkpoint", "weights": "live"}, "Leave one of them out"),
        ({"dirpath": ""}, "dirpath='' is empty"),
        ({"sample": torch.zeros(0, 3)}, r"sample is empty: its shape is \[0, 3\]"),
        ({"register_as": " "}, "register_as=' ' is not a name"),
    ],
)
def test_invalid_option(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        ONNXExport(**options)
