from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from lightning.pytorch.loggers import TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.event_multiplexer import EventMultiplexer

from lightning_onnx import ONNXArtifact
from lightning_onnx.trackers import publish
from lightning_onnx.trackers.tensorboard.tracker import write_graph
from tests.trackers.conftest import Fit, same_files


def read(run: Path) -> EventAccumulator:
    return EventAccumulator(str(run)).Reload()


def nodes(run: Path) -> set[str]:
    return {node.name for node in read(run).Graph().node}


def test_files_lie_below_the_log_dir(fit: Fit, artifact: ONNXArtifact) -> None:
    place = fit.tensorboard / "onnx" / artifact.name
    assert fit.places[0] == str(place)
    assert same_files(place, artifact)


def test_scalars_are_logged_at_the_step(fit: Fit, artifact: ONNXArtifact) -> None:
    events = read(fit.tensorboard)
    for key, value in artifact.scalars().items():
        (scalar,) = events.Scalars(key)
        assert scalar.value == pytest.approx(value)
        assert scalar.step == fit.step == 1


def test_report_is_a_text(fit: Fit, artifact: ONNXArtifact) -> None:
    (text,) = read(fit.tensorboard).Tensors("onnx/report/text_summary")
    assert text.tensor_proto.string_val == [artifact.report.markdown().encode()]
    assert text.step == fit.step


def test_the_graph_is_a_run_next_to_the_loggers_own(fit: Fit) -> None:
    """The logger's run keeps the graph of ``log_graph=True``."""
    runs = EventMultiplexer().AddRunsFromDirectory(str(fit.tensorboard)).Reload().Runs()
    assert {run for run, tags in runs.items() if tags["graph"]} == {".", "onnx_graph"}
    assert "logits" in nodes(fit.tensorboard / "onnx_graph")
    assert "logits" not in nodes(fit.tensorboard)


def test_sub_dir_and_subclass(artifact: ONNXArtifact, tmp_path: Path) -> None:
    class Mine(TensorBoardLogger):
        pass

    logger = Mine(tmp_path, name=None, version="v", sub_dir="sub")
    assert publish(logger, artifact, [], 3) == str(tmp_path / "v" / "sub" / "onnx" / artifact.name)
    logger.finalize("success")
    assert read(tmp_path / "v" / "sub").Scalars("onnx/parity_passed")[0].step == 3
    assert nodes(tmp_path / "v" / "sub" / "onnx_graph")


def test_same_graph_is_written_once_and_the_last_one_is_shown(
    artifact: ONNXArtifact, dynamo_artifact: ONNXArtifact, tmp_path: Path
) -> None:
    written = []
    for path in (artifact.model_path, artifact.model_path, dynamo_artifact.model_path, artifact.model_path):
        write_graph(path, str(tmp_path))
        written.append(len(list(tmp_path.iterdir())))
    assert written == [1, 1, 2, 3]


def test_external_weights_are_not_needed(artifact: ONNXArtifact, tmp_path: Path) -> None:
    onnx.save(
        onnx.load(artifact.model_path),
        tmp_path / "model.onnx",
        save_as_external_data=True,
        location="model.onnx.data",
        size_threshold=0,
    )
    (tmp_path / "model.onnx.data").unlink()
    write_graph(tmp_path / "model.onnx", str(tmp_path / "run"))
    write_graph(artifact.model_path, str(tmp_path / "other"))
    assert nodes(tmp_path / "run") == nodes(tmp_path / "other")
