"""Finds a run's best artifact in a tracker's own store and runs it, in its own process, without torch.

Usage: python -m tests.trackers.reading TRACKER WHERE... inputs.npy outputs.npy (the last one is written)
"""

from __future__ import annotations

import hashlib
import json
import shutil
import struct
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main(tracker: str, *arguments: str) -> None:
    import numpy as np
    import onnxruntime

    *where, inputs, outputs = arguments
    directory: Path = globals()[tracker](*where)
    manifest = json.loads((directory / "manifest.json").read_text())
    for name, file in manifest["files"].items():
        content = (directory / name).read_bytes()
        assert {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)} == file, name
    session = onnxruntime.InferenceSession(directory / manifest["model"]["file"], providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {manifest["inputs"][0]["name"]: np.load(inputs)})
    np.save(outputs, result)
    assert "torch" not in sys.modules
    print(json.dumps(manifest))


def plain(directory: str) -> Path:
    """Nothing to look up: the directory itself."""
    return Path(directory)


def wandb(run_dir: str) -> Path:
    """W&B's client cannot read runs offline: the transaction log lists the staged files of the artifact."""
    import base64

    logged = [record.artifact for record in wandb_records(Path(run_dir)) if record.HasField("artifact")]
    best = [artifact for artifact in logged if "best" in artifact.aliases][-1]
    directory = Path(tempfile.mkdtemp())
    for entry in best.manifest.contents:
        place = directory / entry.path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(entry.local_path, place)
        assert base64.b64encode(hashlib.md5(place.read_bytes()).digest()).decode() == entry.digest
    return directory


def mlflow(uri: str, model_uri: str) -> Path:
    """MLflow's own client; a run's model by its tag, or a registered one by its alias."""
    import mlflow as client

    client.set_tracking_uri(uri)
    if model_uri == "tag":
        query = "tags.`alias.best` = 'true'"
        (model,) = client.search_logged_models(search_all_experiments(), filter_string=query, output_format="list")
        model_uri = model.model_uri
    return Path(client.artifacts.download_artifacts(model_uri))


def search_all_experiments() -> list[str]:
    import mlflow as client

    return [experiment.experiment_id for experiment in client.search_experiments()]


def comet(offline_directory: str) -> Path:
    """Comet's client cannot read experiments offline: the messages in the archive show what the upload would do."""
    (archive,) = Path(offline_directory).glob("*.zip")
    messages = comet_messages(archive)
    (name,) = [m["value"] for kind, m in messages if kind == "log_other" and m["key"] == "onnx/best"][-1:]
    directory = Path(tempfile.mkdtemp())
    with zipfile.ZipFile(archive) as content:
        for kind, message in messages:
            file = message.get("additional_params", {})
            if kind == "file_upload" and file.get("groupingName") == name:
                place = directory / file["fileName"]
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content.read(message["file_path"]))
    return directory


def comet_messages(archive: Path) -> list[tuple[str, dict[str, Any]]]:
    """Kind and payload of each message of an offline archive."""
    with zipfile.ZipFile(archive) as content:
        lines = content.read("messages.json").decode().splitlines()
    return [(message["type"], message["payload"]) for message in map(json.loads, lines)]


def dvclive(repository: str, experiment: str) -> Path:
    """DVC's own API: the name in the experiment's commit says which directory, DVC's cache has the files."""
    import yaml
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(repository, rev=experiment)
    directory = Path(tempfile.mkdtemp()) / "artifact"
    entry = yaml.safe_load(files.read_text("dvc.yaml"))["artifacts"]["onnx-best"]
    files.get(entry["path"], str(directory), recursive=True)
    return directory


def clearml(archive: str) -> Path:
    """ClearML's client cannot read tasks offline: the archive of the session has what an import would upload."""
    with zipfile.ZipFile(archive) as session:
        task = json.loads(session.read("task.json"))
        name = clearml_properties(task)["onnx-best"]
        (uploaded,) = [entry for entry in task["execution"]["artifacts"] if entry["key"] == name]
        (member,) = [m for m in session.namelist() if uploaded["uri"].endswith(m)]
        directory = Path(tempfile.mkdtemp())
        with session.open(member) as content, zipfile.ZipFile(content) as files:
            files.extractall(directory)
    return directory


def clearml_properties(task: dict[str, Any]) -> dict[str, str]:
    """The task's user properties."""
    return {name: entry["value"] for name, entry in task["hyperparams"]["properties"].items()}


def wandb_records(run_dir: Path) -> Iterator[Any]:
    """Records of a ``.wandb`` file: a log in LevelDB's format, after a header of seven bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = run_dir.glob("*.wandb")
    content, place, block, parts = path.read_bytes(), 7, 32768, b""
    while place + 7 <= len(content):
        if block - place % block < 7:
            place += block - place % block
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        if kind == 0:
            break
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


if __name__ == "__main__":
    main(*sys.argv[1:])
