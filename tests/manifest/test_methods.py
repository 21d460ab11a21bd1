"""The manifest of several methods: there and back, with one field wrong, and the figures of the whole."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from lightning_onnx import ArtifactError, ONNXArtifact
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.methods import scalars_of


@pytest.fixture
def joined(exported: ONNXArtifact) -> Manifest:
    def of(method: str, **scalars: float) -> Manifest:
        first = exported.record
        return dataclasses.replace(
            first,
            model=dataclasses.replace(first.model, file=f"{method}.onnx"),
            source=dataclasses.replace(first.source, method=method),
            scalars={"parity_passed": 1.0, "size_mib": 9.0, **scalars},
            files={"encode.onnx": first.model.digest, "decode.onnx": first.model.digest},
        )

    return Manifest.joined([of("encode", export_seconds=2.0), of("decode", parity_passed=0.0)])


def test_it_is_the_same_there_and_back(joined: Manifest) -> None:
    values = joined.to_dict()
    assert Manifest.from_dict(values) == joined
    assert joined.model_files == ("encode.onnx", "decode.onnx")
    assert list(joined.model_digests()) == ["encode.onnx", "decode.onnx"]
    encode, decode = joined.by_method.values()
    assert (encode.methods, decode.methods) == ({}, {})
    assert decode.files == joined.files  # they stand in the JSON once
    assert "files" not in values["methods"]["decode"]


def test_a_field_of_a_method_that_is_missing_is_named(joined: Manifest) -> None:
    values = joined.to_dict()
    del values["methods"]["decode"]["checks"]
    with pytest.raises(ArtifactError, match=r"methods\.decode\.checks is missing"):
        Manifest.from_dict(values)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda values: values["methods"].update(other=values["methods"]["decode"]), "methods has other, which is"),
        (lambda values: values["source"].update(method="decode"), "methods has decode, which is the first"),
        (lambda values: values["methods"]["decode"]["model"].update(file="encode.onnx"), "several methods have the"),
        (lambda values: values["source"].update(method="x\nimport os"), "source.method is .*, expected a name"),
    ],
)
def test_each_method_has_a_name_and_a_file_of_its_own(joined: Manifest, change: Any, what: str) -> None:
    values = joined.to_dict()
    change(values)
    with pytest.raises(ArtifactError, match=what):
        Manifest.from_dict(values)


def test_one_method_that_failed_fails_the_whole(joined: Manifest) -> None:
    found = scalars_of(joined)
    assert (found["encode/parity_passed"], found["decode/parity_passed"], found["parity_passed"]) == (1, 0, 0)
    assert found["size_mib"] == 2 * joined.model.digest.bytes / 2**20
    assert found["export_seconds"] == 2
    assert "decode/export_seconds" not in found
    assert scalars_of(joined.by_method["decode"]) == joined.methods["decode"].scalars
