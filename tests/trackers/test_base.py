from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.logger import Logger

from lightning_onnx import ConfigurationError, ONNXArtifact
from lightning_onnx.trackers import base, publish, register, targets

PACKAGES = ["lightning.pytorch", "pytorch_lightning"]


class Recorder(Logger):
    """A user's logger; stores what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.logged: list[tuple[dict[str, float], int | None]] = []

    @property
    def name(self) -> str:
        return "recorder"

    @property
    def version(self) -> int:
        return 3

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.logged.append((metrics, step))

    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        pass


class RecorderTracker:
    """A user's tracker."""

    def publish(self, logger: Any, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> str | None:
        return f"{logger.name} {artifact.name} {','.join(aliases)} {step}"


@pytest.fixture
def _registry() -> Iterator[None]:
    before = dict(base.TRACKERS)
    yield
    base.TRACKERS.clear()
    base.TRACKERS.update(before)


@pytest.mark.usefixtures("_registry")
@pytest.mark.parametrize("tracker", [RecorderTracker(), f"{__name__}:RecorderTracker"], ids=["object", "text"])
def test_a_registered_tracker_handles_the_class_and_its_subclasses(tracker: Any, artifact: ONNXArtifact) -> None:
    class Sub(Recorder):
        pass

    register(f"{__name__}.Recorder", tracker)
    for logger in (Recorder(), Sub()):
        assert publish(logger, artifact, ["best", "latest"], 7) == "recorder epoch=2-step=9 best,latest 7"
        assert logger.logged == [(artifact.scalars(), 7)]


@pytest.mark.usefixtures("_registry")
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("registered_for", PACKAGES)
def test_one_name_covers_both_packages(
    package: str, registered_for: str, artifact: ONNXArtifact, tmp_path: Path
) -> None:
    register(f"{registered_for}.loggers.csv_logs.CSVLogger", RecorderTracker())
    logger = importlib.import_module(f"{package}.loggers").CSVLogger(tmp_path, name="mine")
    assert publish(logger, artifact, [], 1) == "mine epoch=2-step=9  1"


@pytest.mark.usefixtures("_registry")
def test_tracker_is_imported_on_first_use(artifact: ONNXArtifact) -> None:
    register(f"{__name__}.Recorder", "no_such_module:Tracker")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        publish(Recorder(), artifact, [], 0)


@pytest.mark.parametrize("tracker", ["module", ":attribute", "module:", ""])
def test_register_refuses_a_text_that_is_not_a_tracker(tracker: str) -> None:
    with pytest.raises(ConfigurationError, match="module:class"):
        register("a.Logger", tracker)


def test_register_refuses_a_class_without_a_module() -> None:
    with pytest.raises(ConfigurationError, match="'Logger'"):
        register("Logger", RecorderTracker())


@pytest.mark.parametrize("package", PACKAGES)
def test_dummy_logger_gets_nothing(
    package: str, artifact: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    logger = importlib.import_module(f"{package}.loggers.logger").DummyLogger()
    assert publish(logger, artifact, ["best"], 0) is None
    assert not list(tmp_path.iterdir())


class RegistryTracker(RecorderTracker):
    """A tracker with a model registry."""

    def publish(self, *args: Any, register_as: str | None = None) -> str | None:
        return f"{super().publish(*args)} {register_as}"


@pytest.mark.usefixtures("_registry")
def test_name_for_the_registry_reaches_who_has_one(artifact: ONNXArtifact, caplog: pytest.LogCaptureFixture) -> None:
    register(f"{__name__}.Recorder", RegistryTracker())
    assert publish(Recorder(), artifact, [], 7, register_as="digits") == "recorder epoch=2-step=9  7 digits"
    assert publish(Recorder(), artifact, [], 7) == "recorder epoch=2-step=9  7 None"
    register(f"{__name__}.Recorder", RecorderTracker())
    base.say_once.cache_clear()
    for _ in range(2):
        assert publish(Recorder(), artifact, [], 7, register_as="digits") == "recorder epoch=2-step=9  7"
    (line,) = [message for message in caplog.messages if "register_as" in message]
    assert "has no effect: no model registry of Recorder is known" in line


class Filing(Recorder):
    """A logger that stores artifacts through another package."""

    def log_onnx_artifact(self, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> Path:
        return Path("mine") / f"{artifact.name}-{','.join(aliases)}-{step}"


class Registering(Filing):
    """The same with a model registry."""

    def log_onnx_artifact(self, *args: Any, register_as: str | None = None) -> Path:
        return super().log_onnx_artifact(*args) / str(register_as)


def test_a_logger_that_stores_files_by_its_own_method(artifact: ONNXArtifact) -> None:
    logger = Filing()
    assert publish(logger, artifact, ["best"], 7, register_as="digits") == "mine/epoch=2-step=9-best-7"
    assert logger.logged == [(artifact.scalars(), 7)]
    assert publish(Registering(), artifact, ["best"], 7, register_as="digits") == "mine/epoch=2-step=9-best-7/digits"


@pytest.mark.usefixtures("_registry")
def test_the_most_derived_class_decides_and_register_has_precedence(artifact: ONNXArtifact, tmp_path: Path) -> None:
    class FilingCSV(CSVLogger):
        def log_onnx_artifact(self, artifact: ONNXArtifact, aliases: Sequence[str], step: int) -> None:
            return None

    assert publish(FilingCSV(tmp_path), artifact, [], 1) is None
    register(f"{__name__}.Recorder", RecorderTracker())
    assert str(publish(Filing(), artifact, [], 1)).startswith("mine")
    register(f"{__name__}.Filing", RecorderTracker())
    assert str(publish(Filing(), artifact, [], 1)).startswith("recorder")


def test_installed_package_plugs_in_by_an_entry_point(
    artifact: ONNXArtifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "their_loggers-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-loggers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[lightning_onnx.trackers]\n"
        "their_loggers.Theirs = their_loggers:Tracker\n"
        "pytorch_lightning.loggers.their.Mirrored = no_such_module:Tracker\n"
    )
    (tmp_path / "their_loggers.py").write_text(
        f"from {__name__} import Recorder\n"
        "class Theirs(Recorder): pass\n"
        "class Tracker:\n"
        "    def publish(self, logger, artifact, aliases, step): return f'theirs {artifact.name} {step}'\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    base.entry_points.cache_clear()
    try:
        assert base.entry_points()["lightning.pytorch.loggers.their.Mirrored"] == "no_such_module:Tracker"
        theirs = importlib.import_module("their_loggers").Theirs()
        assert publish(theirs, artifact, ["best"], 7) == "theirs epoch=2-step=9 7"
    finally:
        base.entry_points.cache_clear()


@pytest.mark.parametrize("package", PACKAGES)
def test_neptune_is_refused(package: str, artifact: ONNXArtifact) -> None:
    neptune = importlib.import_module(f"{package}.loggers.neptune").NeptuneLogger

    class Old(neptune, Recorder):  # type: ignore[misc,valid-type]
        def __init__(self) -> None:  # Lightning's own raises
            Recorder.__init__(self)

    with pytest.raises(ConfigurationError, match="shut down"):
        publish(Old(), artifact, ["best"], 1)


def test_targets_are_the_loggers_if_no_other_tracker_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "clearml", raising=False)
    logger = Recorder()
    assert targets([logger]) == [logger]
    assert targets([]) == []
    assert "clearml" not in sys.modules


def test_errors_reach_the_caller(artifact: ONNXArtifact, tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path)
    (Path(logger.log_dir)).mkdir(parents=True)
    (Path(logger.log_dir) / "onnx").write_text("a file where the directory should be")
    with pytest.raises(FileExistsError):
        publish(logger, artifact, [], 0)


@pytest.mark.parametrize("name", sorted(v for v in {*base.TRACKERS.values(), base.FALLBACK} if isinstance(v, str)))
def test_every_tracker_can_be_loaded(name: str) -> None:
    assert callable(base.imported(name).publish)


@pytest.mark.parametrize("name", [name for name in base.TRACKERS if name.startswith("lightning.")])
def test_every_class_name_is_the_class_own(name: str) -> None:
    """Classes are known by name: if one moves in Lightning, this must fail instead of falling back silently."""
    module, _, attribute = name.rpartition(".")
    cls = getattr(importlib.import_module(module), attribute)
    assert f"{cls.__module__}.{cls.__qualname__}" == name


@pytest.mark.slow  # importing Lightning takes seconds
def test_import_loads_no_tracker() -> None:
    code = (
        "import sys, lightning_onnx.trackers;"
        "others = {'tensorboard', 'wandb', 'mlflow', 'comet_ml', 'dvclive', 'clearml', 'litlogger'};"
        "print([m for m in sys.modules if m.split('.')[0] in others or m == 'torch.utils.tensorboard'"
        " or m.startswith('lightning_onnx.trackers.')])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['lightning_onnx.trackers.base']"
