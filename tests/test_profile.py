"""Each moment of an export counts for one stage."""

from __future__ import annotations

import itertools
import json
import logging
from pathlib import Path

import pytest
import torch

import lightning_onnx
from lightning_onnx.profile import Profile, measured, profiled


def counting() -> Profile:
    """Return a profile whose clock tells one second more at each look."""
    return Profile(map(float, itertools.count()).__next__)


def test_an_inner_stage_is_taken_from_the_outer_one() -> None:
    with profiled(counting()) as profile:
        with measured("tracing"), measured("running the module"), profiled() as inner:
            assert inner is profile
        with pytest.raises(ValueError, match="no"), measured("running the module"):
            raise ValueError("no")
    assert profile.seconds == {"other": 3.0, "tracing": 2.0, "running the module": 2.0}
    assert str(profile) == "tracing 2.0 s, running the module 2.0 s, other 4.0 s"


def test_nothing_is_measured_outside_of_an_export() -> None:
    with measured("tracing"):
        pass
    with profiled(counting()) as profile:
        pass
    assert profile.seconds == {"other": 1.0}


@pytest.mark.slow
def test_an_artifact_says_where_its_seconds_went(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "lightning_onnx"):
        made = lightning_onnx.export(torch.nn.Linear(4, 2), torch.zeros(3, 4), directory=tmp_path / "made")
    seconds = json.loads((made.directory / "manifest.json").read_text())["seconds"]
    assert list(seconds) == ["running the module", "tracing", "running the file", "other"]
    assert 0.9 * made.record.scalars["export_seconds"] < sum(seconds.values())
    assert made.record.seconds == seconds
    assert "seconds of this export: running the module" in caplog.text
    assert "running the file" in (made.directory / "report.md").read_text()
