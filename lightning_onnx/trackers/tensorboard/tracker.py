"""Lightning's TensorBoardLogger: files in the log directory, the report as text, the model in the Graphs tab."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_utilities.core.imports import RequirementCache

from lightning_onnx.artifacts.artifact import ONNXArtifact
from lightning_onnx.notices import info
from lightning_onnx.trackers.files import copy_below

if TYPE_CHECKING:
    from lightning.pytorch.loggers import TensorBoardLogger

_TENSORBOARD = RequirementCache("tensorboard")


class TensorBoardTracker:
    """Keeps artifacts in ``<log_dir>/onnx``, the report as text ``onnx/report``, the graph in the run ``onnx_graph``.

    The graph has its own run, ``<log_dir>/onnx_graph``: TensorBoard shows one graph per run, and the logger's
    ``log_graph=True`` writes one as well. It shows the model that was published last. Of several methods, each has a
    run: ``onnx_graph_<method>``.
    """

    def publish(
        self, logger: TensorBoardLogger, artifact: ONNXArtifact, aliases: Sequence[str], step: int
    ) -> str | None:
        """Copy the files, write the report and the graph."""
        place = copy_below(artifact, logger.log_dir)
        logger.experiment.add_text("onnx/report", artifact.report.markdown(), global_step=step)
        logger.experiment.flush()
        if _TENSORBOARD:
            for method in artifact.methods:
                run = "onnx_graph" if len(artifact.methods) == 1 else f"onnx_graph_{method}"
                write_graph(artifact.method(method).model_path, os.path.join(logger.log_dir, run))
        else:  # The logger also works with tensorboardX, but the graph needs TensorBoard's own messages.
            info(f"The ONNX graph is left out of TensorBoard's Graphs tab. {_TENSORBOARD}")
        return place


def write_graph(model_path: Path, run_dir: str) -> None:
    """Write a model's graph as a TensorBoard run, unless the run shows that graph already.

    Args:
        model_path: The ONNX file; external weights are not read.
        run_dir: Directory of the run; a path, or a URL that TensorBoard knows.
    """
    import onnx
    from tensorboard.compat.proto.event_pb2 import Event  # type: ignore[import-untyped]
    from tensorboard.summary.writer.event_file_writer import EventFileWriter  # type: ignore[import-untyped]

    from lightning_onnx.trackers.tensorboard.graph import graph_def

    graph = graph_def(onnx.load(model_path, load_external_data=False)).SerializeToString(deterministic=True)
    # Checkpoints of one run differ in weights, which are not in the graph: one event file is enough for all.
    suffix = f".{hashlib.sha256(graph).hexdigest()[:16]}"
    if _newest(run_dir).endswith(suffix):
        return
    writer = EventFileWriter(run_dir, filename_suffix=suffix)
    writer.add_event(Event(wall_time=time.time(), graph_def=graph))
    writer.close()


def _newest(run_dir: str) -> str:
    """Return the name of the newest event file in a directory, which sorts last; empty without one."""
    from tensorboard.compat import tf  # type: ignore[import-untyped]

    return max(tf.io.gfile.glob(os.path.join(run_dir, "events.out.tfevents.*")), default="")
