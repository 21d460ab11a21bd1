"""What loggers get from an artifact; a failing logger stops nothing."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_onnx import ONNXArtifact, export
from lightning_onnx.trackers.base import TRACKERS, say_once
from lightning_onnx.training.fit_log import FitLog
from lightning_onnx.training.options import CallbackConfig
from lightning_onnx.training.publishing import Publisher


class Keeping:
    """A logger that stores artifacts itself."""

    def __init__(self) -> None:
        self.filed: list[tuple[list[str], str | None]] = []
        self.numbers: list[int] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        assert metrics["onnx/parity_passed"] in (0, 1)
        self.numbers.append(step)

    def log_onnx_artifact(
        self, artifact: ONNXArtifact, aliases: Sequence[str], step: int, register_as: str | None = None
    ) -> None:
        self.filed.append((list(aliases), register_as))


class Failing(Keeping):
    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        raise ConnectionError("no server")

    def log_onnx_artifact(self, *_: Any, **__: Any) -> None:
        raise ConnectionError("no server")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    return export(torch.nn.Linear(4, 2), torch.zeros(3, 4), directory=tmp_path_factory.mktemp("good") / "made")


@pytest.fixture
def bad(good: ONNXArtifact, tmp_path: Path) -> ONNXArtifact:
    failed = [{**check, "status": "failed"} for check in good.manifest["checks"]]
    return dataclasses.replace(good, manifest={**good.manifest, "checks": failed})


def publisher(log_artifacts: str | bool, **options: Any) -> Publisher:
    config = CallbackConfig(log_artifacts=log_artifacts, register_as="net")
    return Publisher(config, FitLog(), lambda artifact: f"memory://onnx/{artifact.name}", **options)


def test_every_artifact_is_published_when_it_is_made(good: ONNXArtifact) -> None:
    logger = Keeping()
    publisher("all").publish_new([logger], good, is_best=True)
    publisher("all").publish_new([logger], good, is_best=False)
    publisher("all").publish_best([logger], good)
    assert logger.filed == [(["latest", "epoch=None", "best"], "net"), (["latest", "epoch=None"], None)]
    assert logger.numbers == [0, 0]


def test_only_the_best_is_published_at_the_end(good: ONNXArtifact) -> None:
    logger = Keeping()
    publisher("best").publish_new([logger], good, is_best=True)
    assert (logger.filed, logger.numbers) == ([], [0])
    publisher("best").publish_best([logger], good)
    assert logger.filed == [(["latest", "epoch=None", "best"], "net")]


def test_an_artifact_whose_parity_failed_is_never_the_best(bad: ONNXArtifact) -> None:
    logger = Keeping()
    publisher("all").publish_new([logger], bad, is_best=True)
    assert logger.filed == [(["latest", "epoch=None"], None)]
    with pytest.warns(UserWarning, match="a check failed"):
        publisher("best").publish_best([logger], bad)
    assert len(logger.filed) == 1


@pytest.mark.parametrize("silent", [publisher(False), publisher("all", is_silent=True)])
def test_nothing_is_published(silent: Publisher, good: ONNXArtifact) -> None:
    logger = Keeping()
    silent.publish_new([logger], good, is_best=True)
    silent.publish_best([logger], good)
    assert (logger.filed, logger.numbers) == ([], [])


class Plain(Keeping):
    """A logger without a model registry."""

    def log_onnx_artifact(self, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> None:  # type: ignore[override]
        self.filed.append((list(aliases), None))


class Unknown:
    """A logger whose tracker cannot be imported."""


@pytest.mark.parametrize(
    ("loggers", "said"),
    [
        ([Plain(), Keeping()], []),
        (
            [Plain(), Plain()],
            ["register_as='net' has no effect: no model registry of Plain is known"],
        ),
        ([Unknown()], []),
        ([], ["register_as='net' has no effect: the Trainer has no logger."]),
    ],
)
def test_a_name_for_the_registry_without_effect_is_told_if_no_logger_registers(
    loggers: Any,
    said: list[str],
    good: ONNXArtifact,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    say_once.cache_clear()
    monkeypatch.setitem(TRACKERS, f"{__name__}.Unknown", "no_such_package:Tracker")
    made = publisher("best")
    with warnings.catch_warnings(record=True):
        made.publish_best(loggers, good)
    assert len(made.log.failures) == (Unknown in map(type, loggers))
    messages = [message for message in caplog.messages if "register_as" in message]
    assert [message.removesuffix(" to lightning_onnx.") for message in messages] == said


def test_a_logger_that_fails_stops_no_other(good: ONNXArtifact) -> None:
    failing, keeping, made = Failing(), Keeping(), publisher("all")
    with pytest.warns(UserWarning, match="Failing did not accept the artifact: ConnectionError: no server"):
        made.publish_new([failing, keeping], good, is_best=True)
    assert len(keeping.filed) == 1
    assert made.log.failures == ["Failing did not accept the artifact: ConnectionError: no server"]
    assert isinstance(made.log.errors[0], ConnectionError)


@pytest.mark.parametrize(
    ("place", "next_step"),
    [
        ("s3://runs/onnx/a", "copy s3://runs/onnx/a to a disk and run lightning-onnx check on the copy"),
        ("a b/onnx", "lightning-onnx check 'a b/onnx'"),
    ],
)
def test_the_end_of_a_run_names_where_the_artifact_stays(
    place: str, next_step: str, good: ONNXArtifact, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        FitLog().conclude(good, place)
        FitLog().tell_place(good, place)
    first, verdict, _, following, wrote = caplog.messages
    assert first == f"ONNX export: {place}"
    assert verdict == f"ONNX export: {good.report.summary}"
    assert following == f"ONNX export: next: {next_step}; the report is report.html there"
    assert wrote.startswith(f"ONNX export: wrote {place} in ")
    assert str(good.directory) not in caplog.text
