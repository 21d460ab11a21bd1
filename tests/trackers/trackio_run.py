"""Runs in an environment that has Trackio: trains, publishes once more, and prints what the test compares with.

Usage: python -m tests.trackers.trackio_run train DIRECTORY, or python -m tests.trackers.trackio_run read DIRECTORY
"""

from __future__ import annotations

import dataclasses
import json
import sys
import zipfile
from pathlib import Path
from typing import Any


def train(root: Path) -> dict[str, Any]:
    import trackio.run

    from lightning_onnx import ONNXArtifact, TrackioLogger
    from lightning_onnx.trackers import publish
    from tests.trackers.training import train

    logger = TrackioLogger("digits", name="first")
    logger.log_hyperparams({"rate": 0.1, "layers": [1, 2]})
    published: list[str | None] = []

    def again(callback: Any, trainer: Any) -> None:
        for aliases in (["latest", "epoch=3", "a/b:c", "v3", "", "x" * 300], ["other"]):
            published.append(publish(logger, callback.artifact, aliases, 9))
        del trackio.run.Run.log_artifact  # as in a version without artifacts
        published.append(publish(logger, callback.artifact, ["best"], 9))
        logger.finalize("success")
        loaded = ONNXArtifact.load(callback.artifact.directory)
        assert loaded.manifest == callback.artifact.manifest

    trained = train(root, logger, after=again)
    values = dataclasses.asdict(trained)
    return {**values, "inputs": trained.inputs.tolist(), "outputs": trained.outputs.tolist(), "published": published}


def read(root: Path) -> dict[str, Any]:
    """Read everything back from Trackio's own store, in a process without torch."""
    import numpy as np
    import onnxruntime
    import trackio
    from trackio.sqlite_storage import SQLiteStorage

    logs = SQLiteStorage.get_logs("digits", "first")
    (run,) = trackio.Api().runs("digits")
    config = run.config
    reader = trackio.init("digits", name="reader", embed=False)
    directory = Path(reader.use_artifact("onnx-first:best", type="model").download(root / "downloaded"))
    names = {
        alias: reader.use_artifact(f"onnx-first:{alias}").name for alias in ("latest", "epoch-3", "onnx-v3", "other")
    }
    reader.finish()
    manifest = json.loads((directory / "manifest.json").read_text())
    session = onnxruntime.InferenceSession(directory / "model.onnx", providers=["CPUExecutionProvider"])
    inputs = np.asarray(json.loads((root / "inputs.json").read_text()), np.float32)
    (outputs,) = session.run(None, {manifest["inputs"][0]["name"]: inputs})
    (archive,) = (root / "store").rglob("onnx-first-*.zip")
    with zipfile.ZipFile(archive) as content:
        archived = {name: len(content.read(name)) for name in content.namelist()}
    assert "torch" not in sys.modules
    return {
        "manifest": manifest,
        "outputs": outputs.tolist(),
        "aliases": names,
        "logs": logs,
        "config": config,
        "files": sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()),
        "archived": archived,
    }


if __name__ == "__main__":
    result = {"train": train, "read": read}[sys.argv[1]](Path(sys.argv[2]))
    Path(sys.argv[2], f"{sys.argv[1]}.json").write_text(json.dumps(result))
