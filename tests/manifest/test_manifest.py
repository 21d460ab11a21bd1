"""The records of a manifest: their JSON is the same there and back, and damaged fields are named."""

from __future__ import annotations

import copy
import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import lightning_onnx
from lightning_onnx import ArtifactError, CheckContext, CheckResult, Float16, ONNXArtifact, Parity
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.module.calls.signature import SizeRange

KEYS = {
    "": "format_version requires name model inputs outputs relations contract source checks scalars runtimes variants "
    "notes metadata graph versions files shape_ranges shape_ranges_from samples seconds",
    "model": "file sha256 bytes opset ir_version target oldest_onnxruntime engine engine_reason",
    "source": "weights epoch global_step checkpoint monitor score precision device module method sample traced_shapes "
    "paths",
    "variants": "name class file sha256 bytes opset status reason options checks figures notes",
    "checks": "name status reason figures",
    "inputs": "name dtype shape",
    "graph": "nodes operators modules blocks",
}
"""The keys that are always written, in their order."""


class Own:
    """A user's check, with figures that are unknown to this package."""

    name = "own"

    def __call__(self, context: CheckContext) -> CheckResult:
        return CheckResult("own", "passed", None, {"outputs": {"y": 0.5}, "nested": {"a": [1, None, {"b": "c"}]}})


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> ONNXArtifact:
    torch.manual_seed(0)
    return lightning_onnx.export(
        torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)),
        torch.randn(3, 4),
        directory=tmp_path_factory.mktemp("manifest") / "made",
        checks=(Parity(), Own()),
        variants=(Float16(),),
        metadata={"licence": "Apache-2.0"},
    )


@pytest.fixture
def manifest(artifact: ONNXArtifact) -> dict[str, Any]:
    return copy.deepcopy(artifact.manifest)


def test_json_is_the_same_there_and_back(artifact: ONNXArtifact) -> None:
    text = (artifact.directory / "manifest.json").read_text(encoding="utf-8")
    made = Manifest.from_dict(json.loads(text))
    assert json.dumps(made.to_dict(), indent=2) + "\n" == text
    assert made == artifact.record
    assert Manifest.from_dict(made.to_dict()) == made


@pytest.mark.parametrize("place", KEYS)
def test_keys_and_their_order_stay(place: str, manifest: dict[str, Any]) -> None:
    found = manifest[place] if place else manifest
    assert list(found[0] if isinstance(found, list) else found) == KEYS[place].split()


def test_records_equal_the_json(artifact: ONNXArtifact) -> None:
    record, plain = artifact.record, artifact.manifest
    assert record.model.digest.sha256 == plain["model"]["sha256"] == record.files["model.onnx"].sha256
    assert record.source.traced_shapes == {"input": (2, 4)}
    assert record.source.input_paths == {"input": ("input",)}
    assert [check.status for check in record.checks] == ["passed", "passed"]
    assert record.checks[1].figures == {"outputs": {"y": 0.5}, "nested": {"a": [1, None, {"b": "c"}]}}
    (variant,) = record.variants
    assert (variant.class_name, variant.file, variant.status) == ("Float16", "model.fp16.onnx", "passed")
    assert record.model_digests()["model.fp16.onnx"] == record.files["model.fp16.onnx"]
    assert record.model_files == ("model.onnx", "model.fp16.onnx")
    assert record.graph.operators == plain["graph"]["operators"]
    assert record.graph.modules["0"].class_name == "Linear"
    assert record.metadata == {"licence": "Apache-2.0"}


def test_with_scalar_does_not_change_the_original(artifact: ONNXArtifact) -> None:
    record = artifact.record
    assert record.with_scalar("seconds", 1.5).scalars == {**record.scalars, "seconds": 1.5}
    assert "seconds" not in record.scalars


def test_unknown_fields_are_ignored_and_kept_in_the_plain_manifest(manifest: dict[str, Any], tmp_path: Path) -> None:
    before = Manifest.from_dict(manifest)
    for part in (manifest, manifest["model"], manifest["source"], manifest["checks"][0], manifest["variants"][0]):
        part["of_a_later_version"] = {"any": ["thing"]}
    assert Manifest.from_dict(manifest) == before
    assert ONNXArtifact(tmp_path, manifest).manifest["of_a_later_version"] == {"any": ["thing"]}


def test_fields_missing_in_older_versions_have_defaults(manifest: dict[str, Any]) -> None:
    for key in ("name", "variants", "graph", "metadata", "runtimes", "scalars", "notes", "relations", "files"):
        del manifest[key]
    for key in ("module", "method", "sample", "traced_shapes", "paths"):
        del manifest["source"][key]
    for key in ("target", "oldest_onnxruntime"):
        del manifest["model"][key]
    record = Manifest.from_dict(manifest)
    assert (record.name, record.variants, record.graph.nodes, record.source.method) == (None, (), 0, "forward")


def test_ranges_are_written_if_there_is_a_limit(manifest: dict[str, Any]) -> None:
    assert "ranges" not in Manifest.from_dict(manifest).to_dict()
    manifest["ranges"] = {"batch": {"min": 1, "max": 16}, "height": {"min": 32}}
    record = Manifest.from_dict(manifest)
    assert record.signature.ranges == {"batch": SizeRange(1, 16), "height": SizeRange(32)}
    assert record.to_dict()["ranges"] == manifest["ranges"]


@pytest.mark.parametrize("key", ["model", "inputs", "outputs", "source", "checks"])
def test_a_part_that_is_missing_is_named(key: str, manifest: dict[str, Any]) -> None:
    del manifest[key]
    with pytest.raises(ArtifactError, match=f"{key} is missing"):
        Manifest.from_dict(manifest)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("model", "sha256"), 5, r"model\.sha256 is 5, expected text"),
        (("model", "bytes"), "many", r"model\.bytes is 'many', expected an integer"),
        (("inputs", 0, "shape"), "batch", r"inputs\[0\]\.shape is 'batch', expected a list"),
        (("inputs", 0, "shape"), [None], r"inputs\[0\]\.shape\[0\] is null, expected an integer"),
        (("source", "epoch"), "2", r"source\.epoch is '2', expected an integer"),
        (("source", "paths", "inputs", "input"), [1], r"source\.paths\.inputs\.input\[0\] is 1, expected text"),
        (("checks", 1, "status"), "great", r"checks\[1\]\.status is 'great', expected one of"),
        (("checks", 0), None, r"checks\[0\] is null, expected an object"),
        (("variants", 0, "checks", 0, "name"), None, r"variants\[0\]\.checks\[0\]\.name is null, expected text"),
        (("scalars", "size_mib"), "large", r"scalars\.size_mib is 'large', expected a number"),
        (("graph", "modules", "0"), [], r"graph\.modules\.0 is a list, expected an object"),
        (("files", "model.onnx", "bytes"), None, r"files\.model\.onnx\.bytes is null, expected an integer"),
    ],
)
def test_a_damaged_field_is_named(
    place: tuple[Any, ...], value: object, message: str, manifest: dict[str, Any], tmp_path: Path
) -> None:
    part = manifest
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    with pytest.raises(ArtifactError, match=message):
        Manifest.from_dict(manifest)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=rf"cannot be used: .*{message}.*Export again"):
        ONNXArtifact.load(tmp_path)


def test_format_1_stays_format_1(manifest: dict[str, Any]) -> None:
    manifest["format_version"] = 1
    del manifest["requires"], manifest["contract"]
    record = Manifest.from_dict(manifest)
    assert (record.format_version, record.requires) == (1, None)
    assert record.contract is None
    assert record.to_dict() == manifest


@pytest.mark.parametrize(
    ("version", "requires", "message"),
    [
        (3, "0.9", r"has format_version 3, this version reads 1 to 2\. Install lightning-onnx 0\.9 or later"),
        (3, None, "Install a later version of lightning-onnx"),
        (99, [], "Install a later version of lightning-onnx"),
        (0, "0.9", r"format_version is 0, expected one of \(1, 2\)"),
        (True, "0.9", "format_version is True, expected"),
        (2.0, "0.9", r"format_version is 2\.0, expected"),
        ("2", "0.9", "format_version is '2', expected"),
    ],
)
def test_a_later_format_names_the_version_that_reads_it(
    version: object, requires: object, message: str, manifest: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format_version": version, "requires": requires}))
    with pytest.raises(ArtifactError, match=message):
        ONNXArtifact.load(tmp_path)


def test_records_are_frozen(artifact: ONNXArtifact) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        artifact.record.model.opset = 3  # type: ignore[misc]


def test_reading_needs_neither_torch_nor_onnx() -> None:
    code = (
        "import sys, lightning_onnx.artifacts.artifact, lightning_onnx.report.report\n"
        "print(sorted({'torch', 'lightning', 'onnx', 'jinja2', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
