"""What reaches the Hub, read from a server that answers as it does: one complete commit, never without the right."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lightning_onnx
from lightning_onnx import ArtifactError, ConfigurationError, ONNXArtifact
from lightning_onnx.artifacts import remote
from lightning_onnx.cli import main
from lightning_onnx.deploy.hub import Hub, make_writable, push
from tests.deploy.hub_server import Hub as Server
from tests.deploy.hub_server import Repository

NAME = "user/net"


def pushed(artifact: ONNXArtifact, server: Server, hub: Hub, folder: str = "") -> Repository:
    make_writable(hub)
    push(artifact, hub, folder)
    return server.repositories[hub.repo_id]


def test_one_commit_has_the_artifact_and_a_card(exported: ONNXArtifact, hub: Server, tmp_path: Path) -> None:
    found = pushed(exported, hub, Hub(NAME))
    assert found.private
    assert len(found.commits) == 1
    names = {*exported.record.files, "manifest.json", "README.md"}
    assert set(found.files) == {*names, ".gitattributes"}
    by_lfs = {line.split()[1] for line in found.commits[0][1] if line.startswith("lfsFile ")}
    assert by_lfs == {"model.onnx", "test_data_set_0/input_0.pb", "test_data_set_0/output_0.pb"}
    for name, content in found.files.items():
        (tmp_path / "got" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "got" / name).write_bytes(content)
    assert ONNXArtifact.load(tmp_path / "got").manifest == exported.manifest  # each file has its size and digest


USERS_FILES = dict.fromkeys(
    (
        "notes.txt",
        "assets/banner.png",
        "models/other.onnx",
        "model_zoo/x/y.onnx",
        "model_quantized.onnx",
        "checkpoints/a/model.int8.onnx",
        "checkpoints/a/model.pt2",
    ),
    b"mine",
)


@pytest.mark.parametrize("folder", ["", "checkpoints/a"])
def test_a_second_push_removes_what_the_new_artifact_lacks(
    folder: str, exported: ONNXArtifact, hub: Server, tmp_path: Path
) -> None:
    prefix = f"{folder}/" if folder else ""
    old = dict.fromkeys(("model.pt2", "test_data_set_0/input_1.pb"), exported.record.files["report.md"])
    shutil.copytree(exported.directory, tmp_path / "old")
    for name in old:
        shutil.copyfile(tmp_path / "old" / "report.md", tmp_path / "old" / name)
    record = dataclasses.replace(exported.record, files={**exported.record.files, **old})
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(record.to_dict()))
    found = pushed(ONNXArtifact.load(tmp_path / "old"), hub, Hub(NAME), folder)
    assert {f"{prefix}{name}" for name in old} <= set(found.files)
    theirs = {name: content for name, content in USERS_FILES.items() if name not in found.files}
    found.files |= theirs
    pushed(exported, hub, Hub(NAME), folder)
    removed = [line for line in found.commits[1][1] if line.startswith("deletedFile")]
    assert removed == [f"deletedFile {prefix}{name}" for name in old]
    assert theirs.items() <= found.files.items()


@pytest.mark.parametrize(
    "content", [b'{"name": "a web page"}', b"<html>", b'{"format_version": 99, "files": {"a": {}}}']
)
def test_without_a_manifest_to_read_nothing_is_removed(content: bytes, exported: ONNXArtifact, hub: Server) -> None:
    make_writable(Hub(NAME))
    found = hub.repositories[NAME]
    found.files |= {"manifest.json": content, **USERS_FILES}
    with pytest.warns(UserWarning, match=rf"{NAME}: no file is removed, because its manifest.json cannot be read"):
        push(exported, Hub(NAME))
    assert USERS_FILES.items() <= found.files.items()
    assert json.loads(found.files["manifest.json"]) == exported.manifest


def test_a_folder_leaves_the_root_alone(exported: ONNXArtifact, hub: Server) -> None:
    found = pushed(exported, hub, Hub(NAME))
    before = dict(found.files)
    pushed(exported, hub, Hub(NAME), "checkpoints/a")
    assert {name: found.files[name] for name in before} == before
    assert found.files["checkpoints/a/model.onnx"] == found.files["model.onnx"]
    assert "checkpoints/a/README.md" not in found.files


@pytest.mark.parametrize(("card", "is_kept"), [(b"# Mine\n", True), (None, False)])
def test_a_card_of_the_user_is_kept(card: bytes | None, is_kept: bool, exported: ONNXArtifact, hub: Server) -> None:
    found = pushed(exported, hub, Hub(NAME))
    found.files["README.md"] = card or found.files["README.md"].replace(b"# net", b"# old")
    before = found.files["README.md"]
    pushed(exported, hub, Hub(NAME))
    assert (found.files["README.md"] == before) is is_kept


@pytest.mark.parametrize("name", ["README.md", "readme.md", "./README.md", ".gitattributes"])
def test_an_artifact_has_no_file_that_describes_the_repository(
    name: str, exported: ONNXArtifact, hub: Server, tmp_path: Path
) -> None:
    """Or else it takes the place of the user's, and the manifest of the next one to come removes that."""
    found = pushed(exported, hub, Hub(NAME))
    found.files[name.removeprefix("./")] = b"# Mine\n"
    shutil.copytree(exported.directory, tmp_path / "other")
    shutil.copyfile(exported.directory / "report.md", tmp_path / "other" / name)
    record = dataclasses.replace(
        exported.record, files={**exported.record.files, name: exported.record.files["report.md"]}
    )
    (tmp_path / "other" / "manifest.json").write_text(json.dumps(record.to_dict()))
    with pytest.raises(ArtifactError, match=rf"was not uploaded to {NAME}: it has the file '{name}'"):
        push(ONNXArtifact.load(tmp_path / "other"), Hub(NAME))
    found.files["manifest.json"] = (tmp_path / "other" / "manifest.json").read_bytes()
    push(exported, Hub(NAME))
    assert found.files[name.removeprefix("./")] == b"# Mine\n"


def test_a_public_repository(exported: ONNXArtifact, hub: Server) -> None:
    assert not pushed(exported, hub, Hub(NAME, private=False)).private


@pytest.mark.parametrize(
    ("token", "repo_id", "message"),
    [
        ("hf_wrong", NAME, "the token is invalid"),
        ("hf_reads", NAME, "it cannot be written with this token"),
        ("hf_writes", "other/net", "it cannot be written with this token"),
    ],
)
@pytest.mark.parametrize("exists", [False, True])
def test_the_right_to_write_is_checked(
    token: str, repo_id: str, message: str, exists: bool, hub: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    if exists:
        hub.repositories[repo_id] = Repository(private=False)
    with pytest.raises(ConfigurationError, match=f"'{repo_id}' on the Hub: {message}"):
        make_writable(Hub(repo_id))
    assert set(hub.repositories) == ({repo_id} if exists else set())


def test_without_a_token(hub: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(
        ConfigurationError, match=rf"^'{NAME}' on the Hub: no token was found\. Log in \(hf auth login\)"
    ):
        make_writable(Hub(NAME))


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'lightning-onnx\[hub\]'"):
        make_writable(Hub(NAME))


def test_an_upload_that_fails_names_the_command(exported: ONNXArtifact, hub: Server) -> None:
    wanted = Hub(NAME, private=False, pipeline_tag="text-classification")
    make_writable(wanted)
    hub.failing = (f"/api/models/{NAME}/commit/main",)
    command = f"lightning-onnx push {exported.directory} {NAME} --public --pipeline-tag text-classification"
    with pytest.raises(ArtifactError, match=rf"was not uploaded to {NAME} \(.*500.*Try again: {command}"):
        push(exported, wanted)


@pytest.mark.parametrize("options", [{"repo_id": "net"}, {"repo_id": 3}, {"repo_id": NAME, "pipeline_tag": "A b"},
                                     {"repo_id": NAME, "private": "yes"}])  # fmt: skip
def test_what_is_no_repository(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Hub(**options)


def test_an_artifact_at_a_url(exported: ONNXArtifact, hub: Server, capsys: pytest.CaptureFixture[str]) -> None:
    url = remote.upload(exported.directory, "memory://runs/onnx/linear")
    assert main.main(["push", url, NAME]) == 0
    assert json.loads(hub.repositories[NAME].files["manifest.json"]) == exported.manifest
    assert [summary for summary, _ in hub.repositories[NAME].commits] == ["ONNX model linear"]
    assert main.main(["push", "memory://runs/nothing", NAME]) == 2
    assert "Give the URL of an artifact" in capsys.readouterr().err


def test_nothing_is_loaded_before_it_is_used() -> None:
    code = (
        "import sys, lightning_onnx\n"
        "import lightning_onnx.deploy.triton\n"
        "lightning_onnx.Hub('user/net')\n"
        "print({'huggingface_hub', 'torch', 'onnx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.slow
def test_the_command(exported: ONNXArtifact, hub: Server, tmp_path: Path) -> None:
    shutil.copytree(exported.directory, tmp_path / "a b")

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(Path(lightning_onnx.__file__).parents[1])}
        command = [sys.executable, "-m", "lightning_onnx", "push", str(tmp_path / "a b"), NAME, *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    done = run("--pipeline-tag", "image-classification")
    assert done.returncode == 0, done.stderr
    assert f"/{NAME}/commit/" in done.stdout
    assert json.loads(hub.repositories[NAME].files["manifest.json"]) == exported.manifest
    assert b"pipeline_tag: image-classification" in hub.repositories[NAME].files["README.md"]
    hub.repositories.clear()
    os.environ["HF_TOKEN"] = "hf_reads"  # the fixture restores it
    refused = run()
    assert refused.returncode == 2
    assert "cannot be written with this token" in refused.stderr
