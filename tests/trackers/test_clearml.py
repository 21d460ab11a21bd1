from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import clearml
import pytest
from lightning.pytorch.loggers import CSVLogger

from lightning_onnx import ArtifactError, ONNXArtifact
from lightning_onnx.trackers import publish, targets
from lightning_onnx.trackers.describe import summary
from tests.trackers.reading import clearml_properties
from tests.trackers.training import assert_read_back, scalars_of, train

pytestmark = pytest.mark.slow


@pytest.fixture
def task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[clearml.Task]:
    monkeypatch.setenv("CLEARML_CACHE_DIR", str(tmp_path / "clearml"))
    clearml.Task.set_offline(True)
    clearml.Task.force_store_standalone_script(True)  # else it looks for a repository in a thread that forks
    options = dict.fromkeys(["frameworks", "streams", "arg_parser"], False)
    task = clearml.Task.init(
        "tests", "run", auto_resource_monitoring=False, **{f"auto_connect_{name}": off for name, off in options.items()}
    )
    yield task
    if clearml.Task.current_task() is not None:
        task.close()
    clearml.Task.force_store_standalone_script(False)  # offline mode stays: to leave it, ClearML looks for a server


def _archive(task: clearml.Task) -> Path:
    task.close()
    folder = Path(task.get_offline_mode_folder())
    return folder.with_name(f"{folder.name}.zip")


def _session(archive: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with zipfile.ZipFile(archive) as content:
        lines = content.read("metrics.jsonl").decode().splitlines() if "metrics.jsonl" in content.namelist() else []
        return json.loads(content.read("task.json")), [m for line in lines for m in _events(json.loads(line))]


def _events(line: Any) -> list[dict[str, Any]]:
    return line if isinstance(line, list) else [line]


def test_best_is_found_after_training(task: clearml.Task, tmp_path: Path) -> None:
    def to_all_targets(callback: Any, trainer: Any) -> None:
        _, current = targets(trainer.loggers)
        publish(current, callback.artifact, ["latest", "best"], trainer.global_step)

    trained = train(tmp_path, CSVLogger(tmp_path / "csv"), after=to_all_targets)
    archive = _archive(task)
    assert_read_back(trained, tmp_path, "clearml", archive)
    events = [e for e in _session(archive)[1] if e["metric"] == "onnx" and e["type"] == "training_stats_scalar"]
    assert {f"onnx/{e['variant']}": e["value"] for e in events} == scalars_of(trained)
    assert max(e["iter"] for e in events) == trained.step


def test_current_task_is_a_target(task: clearml.Task) -> None:
    logger = object()
    first, second = targets([logger])
    assert first is logger
    assert second.experiment is task
    (alone,) = targets([])
    assert alone.experiment is task
    task.close()
    assert targets([logger]) == [logger]


def test_files_and_report_are_uploaded_at_once(task: clearml.Task, artifact: ONNXArtifact, tmp_path: Path) -> None:
    shutil.copytree(artifact.directory, tmp_path / "gone/of: its name", dirs_exist_ok=True)
    (target,) = targets([])
    place = publish(target, ONNXArtifact.load(tmp_path / "gone/of: its name"), ["best", "a/b:c"], 7)
    shutil.rmtree(tmp_path / "gone")
    assert place == "ClearML artifact onnx-of- its name"
    archive = _archive(task)
    session, events = _session(archive)
    (entry,) = session["execution"]["artifacts"]
    assert dict(entry["display_data"]).keys() == summary(artifact).keys()
    assert str(tmp_path) not in entry["type_data"]["preview"]
    assert clearml_properties(session) == {"onnx-best": "onnx-of- its name", "onnx-a-b-c": "onnx-of- its name"}
    (page,) = [event for event in events if event["type"] == "training_debug_image"]
    assert (page["metric"], page["variant"], page["iter"]) == ("onnx", "report", 7)
    with zipfile.ZipFile(archive) as content:
        assert "ONNX export" in content.read(next(n for n in content.namelist() if n.endswith(".html"))).decode()
        (member,) = [name for name in content.namelist() if "/artifacts/" in name]
        with content.open(member) as stream, zipfile.ZipFile(stream) as files:
            assert set(files.namelist()) == {*artifact.manifest["files"], "manifest.json"}


def test_files_that_clearml_leaves_out_are_an_error(
    task: clearml.Task, artifact: ONNXArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(task), "upload_artifact", lambda *args, **kwargs: False)
    with pytest.raises(ArtifactError, match="took no files"):
        publish(targets([])[0], artifact, ["best"], 1)
