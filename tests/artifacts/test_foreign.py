"""An artifact from somebody else ends in ``ArtifactError`` or loads safely, whatever is in its directory."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, helper

from lightning_onnx import ArtifactError, ONNXArtifact
from lightning_onnx.artifacts import file_digests
from lightning_onnx.artifacts.data_set import read_data_set
from lightning_onnx.artifacts.file_digests import describe_file
from lightning_onnx.artifacts.foreign import weights_beside
from lightning_onnx.cli.main import main
from lightning_onnx.errors import DataSetError
from lightning_onnx.onnxfile.specs import ModelSpecs

GOLDEN = Path(__file__).parent.parent / "golden" / "0.1.0" / "artifact"
LIMIT = 10.0  # seconds, on any machine: what hangs takes for ever


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN, tmp_path / "artifact"))


@pytest.fixture
def manifest(directory: Path) -> Any:
    return json.loads((directory / "manifest.json").read_text())


def write(directory: Path, manifest: object) -> None:
    (directory / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def listed(directory: Path, manifest: Any, *names: str) -> None:
    """List files with their true sizes and digests, as whoever makes an artifact can."""
    for name in names:
        manifest["files"][name] = dataclasses.asdict(describe_file(directory / name))
    write(directory, manifest)


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def looked_at(directory: Path) -> bool:
    """Load and inspect an artifact, as text, JSON, Markdown and HTML; return whether it was accepted."""
    start = time.monotonic()
    try:
        with _silent():
            codes = [main(["inspect", str(directory), *options]) for options in ([], ["--json"])]
        try:
            artifact = ONNXArtifact.load(directory)
            _ = artifact.scalars(), artifact.report.text(), artifact.report.markdown(), artifact.report.html()
        except ArtifactError:
            return False
        return 2 not in codes
    finally:
        assert time.monotonic() - start < LIMIT


def test_the_artifact_itself_is_accepted_with_files_that_it_does_not_list(directory: Path) -> None:
    (directory / "README.md").write_text("added by the Hub")
    (directory / ".gitattributes").write_text("")
    assert looked_at(directory)


TEXTS = {
    "nested 200,000 deep": '{"format_version": 1, "notes": ' + "[" * 200_000 + "]" * 200_000 + "}",
    "nested 500 deep": "[" * 500 + "]" * 500,
    "objects 900 deep": '{"a":' * 900 + "1" + "}" * 900,
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "a float that is infinite": "1e999",
    "5,000 digits": "1" * 5_000,
    "4,000 digits": "1" * 4_000,
    "a lone surrogate": '"\\ud800"',
    "a surrogate as a key": '{"\\udfff": 1}',
    "not closed": '{"a": 1',
    "two byte order marks": "\ufeff\ufeff1",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
@pytest.mark.parametrize("place", ["notes", "files"])
def test_json_that_no_program_of_ours_writes(text: str, place: str, directory: Path, manifest: Any) -> None:
    manifest[place] = {"here": "HERE"} if place != "notes" else ["HERE"]
    content = json.dumps(manifest).replace('"HERE"', text)
    (directory / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        ONNXArtifact.load(directory)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{}", b"", b"\x00" * 100, "{}".encode("utf-16")], ids=["bytes", "empty", "NUL", "UTF-16"]
)
def test_bytes_that_are_no_json(content: bytes, directory: Path) -> None:
    (directory / "manifest.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        ONNXArtifact.load(directory)


def test_manifest_that_does_not_end(directory: Path) -> None:
    os.truncate(directory / "manifest.json", 2**40)  # takes no space on the disk
    with pytest.raises(ArtifactError, match="larger than"):
        ONNXArtifact.load(directory)


def test_a_file_that_was_never_written(directory: Path, manifest: Any) -> None:
    """Its size is true: to read it takes hours, and to make it no time and no space on the disk."""
    os.truncate(directory / "report.md", 2**40)
    manifest["files"]["report.md"] = {"sha256": "0" * 64, "bytes": 2**40}
    write(directory, manifest)
    with pytest.raises(ArtifactError, match="1099511627776 bytes, most of which were never written"):
        ONNXArtifact.load(directory)


@pytest.mark.slow
def test_many_files_that_were_never_written(directory: Path, manifest: Any) -> None:
    for number in range(8):
        (directory / f"part {number}").write_bytes(b"1")
        os.truncate(directory / f"part {number}", 2**28)
        manifest["files"][f"part {number}"] = {"sha256": "0" * 64, "bytes": 2**28}
    write(directory, manifest)
    assert not looked_at(directory)


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_a_file_of_many_names_is_read_once(
    link: Callable[[Path, Path], None], directory: Path, manifest: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (directory / "large").write_bytes(bytes(2**20))
    names = [f"name {number}" for number in range(100)]
    for name in names:
        link(directory / "large", directory / name)
    listed(directory, manifest, "large", *names)
    hashed: list[bytes] = []
    monkeypatch.setattr(file_digests.hashlib, "sha256", lambda *args: hashed.append(b"") or sha256(*args))
    assert ONNXArtifact.load(directory).passed
    assert len(hashed) == len(manifest["files"]) - len(names)


def test_many_files_in_a_manifest(directory: Path, manifest: Any) -> None:
    """Each of them takes a look at the disk, although there is only one."""
    paths = ("".join("./" if digit == "1" else ".//" for digit in f"{number:b}") for number in range(10_001))
    manifest["files"] |= {f"{path}report.md": manifest["files"]["report.md"] for path in paths}
    write(directory, manifest)
    with pytest.raises(ArtifactError, match="at most 10000 are looked up"):
        ONNXArtifact.load(directory)


SPECIAL: dict[str, Callable[[Path], None]] = {
    "FIFO": os.mkfifo,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to a terminal": lambda path: path.symlink_to("/dev/tty"),
    "directory": lambda path: path.mkdir(),
    "link to itself": lambda path: path.symlink_to(path),
    "link to nothing": lambda path: path.symlink_to("nothing"),
    "link out": lambda path: path.symlink_to(_moved_out(path)),
}


def _moved_out(path: Path) -> Path:
    return Path(shutil.copy(GOLDEN / path.relative_to(path.parents[0]), path.parents[1] / "outside"))


@pytest.mark.parametrize("make", SPECIAL.values(), ids=SPECIAL.keys())
@pytest.mark.parametrize("name", ["manifest.json", "model.onnx", "report.md"])
def test_what_is_no_regular_file_of_the_directory(make: Callable[[Path], None], name: str, directory: Path) -> None:
    (directory / name).unlink()
    make(directory / name)
    assert not looked_at(directory)


def test_manifest_that_is_a_link_inside(directory: Path) -> None:
    (directory / "manifest.json").rename(directory / "other.json")
    (directory / "manifest.json").symlink_to("other.json")
    with pytest.raises(ArtifactError, match="link"):
        ONNXArtifact.load(directory)


def test_directory_that_is_a_link_out(directory: Path, tmp_path: Path) -> None:
    shutil.move(directory / "test_data_set_0", tmp_path / "away")
    (directory / "test_data_set_0").symlink_to(tmp_path / "away")
    with pytest.raises(ArtifactError, match="outside"):
        ONNXArtifact.load(directory)


@pytest.mark.parametrize(
    "name",
    [
        *("a\0b", "a\nb", "a\x1b[2Jb", "\u202emodel", "x\\y", "", ".", "a" * 5_000, "a/" * 3_000),
        *("/etc/passwd", "../outside", "x/../../outside", "model.onnx/x"),
    ],
)
@pytest.mark.parametrize("place", ["files", "model", "variant"])
def test_names_of_files(name: str, place: str, directory: Path, manifest: Any) -> None:
    if place == "files":
        manifest["files"][name] = manifest["files"]["model.onnx"]
    elif place == "model":
        manifest["model"]["file"] = name
    else:
        manifest["variants"][0]["file"] = name
    (directory.parent / "outside").write_bytes((directory / "model.onnx").read_bytes())
    write(directory, manifest)
    assert not looked_at(directory)


def test_model_that_is_not_listed(directory: Path, manifest: Any) -> None:
    del manifest["files"]["model.onnx"]
    write(directory, manifest)
    with pytest.raises(ArtifactError, match=r"files lacks model\.onnx"):
        ONNXArtifact.load(directory)


@pytest.mark.parametrize("dtype", ["float32), __import__('os').abort(), (0", "float32\n", ""])
@pytest.mark.parametrize("place", ["inputs", "outputs"])
def test_a_dtype_is_no_code(dtype: str, place: str, directory: Path, manifest: Any) -> None:
    """It stands in the code that the command line, the report and the model card give."""
    manifest[place][0]["dtype"] = dtype
    write(directory, manifest)
    with pytest.raises(ArtifactError, match=rf"{place}\[0\]\.dtype is .*, expected a name"):
        ONNXArtifact.load(directory)
    assert main(["snippet", str(directory)]) == 1


def test_a_model_larger_than_onnx_allows_is_not_read(directory: Path) -> None:
    os.truncate(directory / "model.onnx", 2**31)  # takes no space on the disk, but in memory
    with pytest.raises(ArtifactError, match="not an ONNX model: it has 2147483648 bytes"):
        weights_beside(directory / "model.onnx")


def _external(location: str, name: str = "w") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=location)
    return tensor


def _sparse(location: str) -> onnx.SparseTensorProto:
    indices = helper.make_tensor("i", TensorProto.INT64, [1], [0])
    return onnx.SparseTensorProto(values=_external(location), indices=indices, dims=[4])


def _node(location: str) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["c"], value=_external(location))


PLACES: dict[str, Callable[[onnx.ModelProto, str], Any]] = {
    "initializer": lambda m, at: m.graph.initializer.append(_external(at)),
    "attribute": lambda m, at: m.graph.node.append(_node(at)),
    "sparse initializer": lambda m, at: m.graph.sparse_initializer.append(_sparse(at)),
    "sparse attribute": lambda m, at: m.graph.node.append(
        helper.make_node("Constant", [], ["c"], sparse_value=_sparse(at))
    ),
    "list of tensors": lambda m, at: m.graph.node.append(
        onnx.NodeProto(attribute=[AttributeProto(name="t", type=AttributeProto.TENSORS, tensors=[_external(at)])])
    ),
    "subgraph": lambda m, at: m.graph.node.append(
        helper.make_node("If", ["x"], ["y"], then_branch=helper.make_graph([_node(at)], "g", [], []))
    ),
    "function": lambda m, at: m.functions.append(onnx.FunctionProto(name="f", node=[_node(at)])),
    "default of a function": lambda m, at: m.functions.append(
        onnx.FunctionProto(name="f", attribute_proto=[AttributeProto(name="t", t=_external(at))])
    ),
    "training initialization": lambda m, at: m.training_info.add().initialization.initializer.append(_external(at)),
    "training algorithm": lambda m, at: m.training_info.add().algorithm.node.append(_node(at)),
}


@pytest.mark.parametrize(
    ("location", "put"),
    [
        *(("unlisted.data", put) for put in PLACES.values()),
        *((location, PLACES["initializer"]) for location in ("../outside", "/etc/passwd", "", "a\0b")),
    ],
    ids=[*PLACES, "outside", "absolute", "empty", "NUL"],
)
def test_weights_outside_or_not_listed(
    location: str, put: Callable[[onnx.ModelProto, str], Any], directory: Path, manifest: Any
) -> None:
    for name in ("unlisted.data", "../outside"):
        (directory / name).write_bytes(bytes(4))
    model = onnx.load(directory / "model.onnx")
    put(model, location)
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    listed(directory, manifest, "model.onnx")
    with pytest.raises(ArtifactError, match=r"outside|files lacks|invalid name"):
        ONNXArtifact.load(directory)


def test_weights_that_are_listed(directory: Path, manifest: Any) -> None:
    (directory / "model.onnx.data").write_bytes(bytes(4))
    model = onnx.load(directory / "model.onnx")
    model.graph.initializer.append(_external("./model.onnx.data"))
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    listed(directory, manifest, "model.onnx", "model.onnx.data")
    assert ONNXArtifact.load(directory).name == "artifact"


def _nested_bytes(depth: int) -> bytes:
    """A graph whose node has a subgraph whose node has a subgraph, and so on; written from the inside."""
    graph = onnx.GraphProto(name="g").SerializeToString()
    for _ in range(depth):
        for number in (onnx.AttributeProto.G_FIELD_NUMBER, 5, 1):  # attribute.g, node.attribute, graph.node
            graph = bytes([number << 3 | 2]) + _varint(len(graph)) + graph
    return bytes([onnx.ModelProto.GRAPH_FIELD_NUMBER << 3 | 2]) + _varint(len(graph)) + graph


def _varint(number: int) -> bytes:
    return bytes(number >> shift & 127 | (128 if number >> shift + 7 else 0) for shift in range(0, 35, 7))[
        : max(1, -(-number.bit_length() // 7))
    ]


def _changed(change: Callable[[onnx.ModelProto], object]) -> bytes:
    model = onnx.load(GOLDEN / "model.onnx")
    change(model)
    return bytes(model.SerializeToString())


def _scopes(value: str) -> bytes:
    return _changed(lambda m: m.graph.node[0].metadata_props.add(key="pkg.torch.onnx.name_scopes", value=value))


MODELS: dict[str, Callable[[], bytes]] = {
    "truncated": lambda: (GOLDEN / "model.onnx").read_bytes()[:-7],
    "garbage": lambda: bytes(range(256)) * 10,
    "text": lambda: b"no model" * 10,
    "a length without an end": lambda: b"\x3a" + b"\xff" * 300_000,
    "empty": lambda: b"",
    "subgraphs in subgraphs": lambda: _nested_bytes(3_000),
    "names that are not UTF-8": lambda: (GOLDEN / "model.onnx").read_bytes().replace(b"images", b"im\xff\xfees"),
    "type that does not exist": lambda: _changed(
        lambda m: m.graph.input[0].type.tensor_type.__setattr__("elem_type", 9_999)
    ),
    "weight of such a type": lambda: _changed(lambda m: m.graph.initializer.add(name="w", data_type=9_999, dims=[4])),
    "300,000 dims": lambda: _changed(lambda m: m.graph.initializer.add(name="w", data_type=1, dims=[2**62] * 300_000)),
    "5,000 digits in a name": lambda: _changed(
        lambda m: m.graph.initializer.add(name=f"a.{'1' * 5_000}.w", data_type=1)
    ),
    "scopes that are code": lambda: _scopes("__import__('os').abort()"),
    "scopes that are deep": lambda: _scopes("(" * 5_000 + ")" * 5_000),
    "scopes that negate": lambda: _scopes("-" * 100_000 + "1"),
    "scopes that are numbers": lambda: _scopes("[1, 2]"),
    "text that looks like traces": lambda: _changed(lambda m: setattr(m, "doc_string", 'File "' * 100_000)),
    "text that looks like paths": lambda: _changed(lambda m: setattr(m, "doc_string", "/home/" * 100_000)),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())
def test_models_that_no_exporter_writes(make: Callable[[], bytes], directory: Path, manifest: Any) -> None:
    (directory / "model.onnx").write_bytes(make())
    listed(directory, manifest, "model.onnx")
    looked_at(directory)
    with _silent():
        start = time.monotonic()
        main(["inspect", str(directory / "model.onnx")])
        assert time.monotonic() - start < LIMIT


def _damaged(**fields: Any) -> bytes:
    """Change the first weight."""

    def change(model: onnx.ModelProto) -> None:
        weight = TensorProto(name=model.graph.initializer[0].name, dims=model.graph.initializer[0].dims, **fields)
        model.graph.initializer[0].CopyFrom(weight)

    return _changed(change)


DAMAGES: dict[str, Callable[[], bytes]] = {
    "weights that are too short": lambda: _damaged(data_type=1, raw_data=b"1234"),
    "weights of no type": lambda: _damaged(data_type=9_999, raw_data=b"1234"),
    "weights beside the model that are cut off": lambda: _damaged(
        data_type=1,
        data_location=TensorProto.EXTERNAL,
        external_data=[
            onnx.StringStringEntryProto(key=key, value=value)
            for key, value in (("location", "w.data"), ("offset", "4096"), ("length", "8"))
        ],
    ),
    "a text that is not UTF-8": lambda: (GOLDEN / "model.onnx").read_bytes().replace(b"'body.2'", b"'body\xff\xff'"),
}


@pytest.mark.parametrize("make", DAMAGES.values(), ids=DAMAGES.keys())
def test_models_whose_weights_or_texts_cannot_be_read_are_not_compared(
    make: Callable[[], bytes], directory: Path, manifest: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    (directory / "model.onnx").write_bytes(make())
    (directory / "w.data").write_bytes(b"1")
    listed(directory, manifest, "model.onnx", "w.data")
    assert main(["diff", str(GOLDEN), str(directory)]) == 1
    assert "model.onnx cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["snippet", "triton", "diff", "check"])
@pytest.mark.parametrize("change", ["an input less", "a name that is not UTF-8"])
def test_no_command_uses_a_manifest_that_says_something_else_than_the_model(
    change: str, command: str, directory: Path, manifest: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if change == "an input less":
        del manifest["inputs"][0]
        write(directory, manifest)
    else:
        content = (directory / "model.onnx").read_bytes()
        (directory / "model.onnx").write_bytes(content.replace(b"images", b"im\xff\xfees"))
        listed(directory, manifest, "model.onnx")
    others = {"triton": [str(tmp_path / "models")], "diff": [str(GOLDEN)]}
    assert main([command, str(directory), *others.get(command, [])]) == 1
    assert "differ: the inputs are" in (told := capsys.readouterr().err) or "not an ONNX model" in told
    assert not (tmp_path / "models").exists()


def test_modules_that_are_deep(directory: Path, manifest: Any) -> None:
    manifest["graph"]["modules"] = {"a." * 100_000: {"class": "Net", "bytes": 4, "operators": {"Add": 1}}, "": {}}
    write(directory, manifest)
    assert looked_at(directory)


def _data_set(directory: Path) -> Any:
    return read_data_set(directory / "test_data_set_0", ModelSpecs.read(directory / "model.onnx"))


def test_test_data_whose_values_are_elsewhere(directory: Path) -> None:
    (directory / "test_data_set_0" / "input_0.pb").write_bytes(_external("/etc/passwd", "images").SerializeToString())
    with pytest.raises(DataSetError, match="another file"):
        _data_set(directory)


def test_test_data_that_is_no_file(directory: Path) -> None:
    place = directory / "test_data_set_0"
    os.mkfifo(place / "input_x.pb")  # a name that no one reads
    assert list(_data_set(directory).inputs) == ["images"]
    (place / "input_0.pb").unlink()
    os.mkfifo(place / "input_0.pb")
    with pytest.raises(DataSetError, match="not a regular file"):
        _data_set(directory)


WRONG = (None, True, 0, -1, 2**62, 1e308, "", "\x1b[2J\u202e", [], {}, [[]], [{}], {"": {}}, {"a": [1, {"b": None}]})


def _paths(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    items = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    for key, inner in items:
        yield from _paths(inner, (*path, key))


def _altered(directory: Path, data: st.DataObject) -> None:
    """Change one field, one byte or one file."""
    kind = data.draw(st.sampled_from(["field", "field", "field", "removed", "byte", "model byte", "file"]))
    manifest = json.loads((directory / "manifest.json").read_text())
    if kind in ("field", "removed"):
        *path, last = data.draw(st.sampled_from(sorted(_paths(manifest), key=repr)))
        place = manifest
        for key in path:
            place = place[key]
        if kind == "removed":
            del place[last]
        else:
            place[last] = data.draw(st.sampled_from(WRONG))
        write(directory, manifest)
        return
    name = "manifest.json" if kind == "byte" else data.draw(st.sampled_from(sorted(manifest["files"])))
    if kind == "model byte":
        name = data.draw(st.sampled_from(["model.onnx", "model.int8.onnx"]))
    content = bytearray((directory / name).read_bytes())
    if kind == "file":
        data.draw(st.sampled_from([os.remove, lambda path: os.truncate(path, 5), _empty]))(directory / name)
    else:
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        (directory / name).write_bytes(bytes(content))
    if (directory / name).is_file() and name != "manifest.json":
        listed(directory, manifest, name)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _fuzz(data: st.DataObject, tmp: Path) -> None:
    directory = tmp / "fuzzed"
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(GOLDEN, directory)
    for _ in range(data.draw(st.integers(1, 2))):
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # the first change was to it
            _altered(directory, data)
    looked_at(directory)


FUZZ = settings(deadline=None, derandomize=False, database=None, suppress_health_check=list(HealthCheck))


@pytest.mark.slow
@settings(FUZZ, max_examples=25, phases=[Phase.generate])  # the slow one makes a failing case small
@given(data=st.data())
def test_one_change_anywhere(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    _fuzz(data, tmp_path_factory.getbasetemp())


@pytest.mark.nightly
@settings(FUZZ, max_examples=1_500)
@given(data=st.data())
def test_many_changes_anywhere(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    _fuzz(data, tmp_path_factory.getbasetemp())
