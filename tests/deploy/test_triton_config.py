"""The configuration for Triton: batching only where the batch is the first dim of everything, types and dims of all."""

from __future__ import annotations

import dataclasses

import pytest

from lightning_onnx import ConfigurationError, ONNXArtifact
from lightning_onnx.deploy.triton_config import Batching, WarmupInput, batching, config
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.manifest.shape_ranges import DimRange
from lightning_onnx.module.calls.signature import Signature, SizeRange, TensorSpec
from tests.deploy.triton_protobuf import parsed

ROWS = TensorSpec("x", "float32", ("batch", 4))
SCORES = TensorSpec("y", "float32", ("batch", 3))


@pytest.fixture
def manifest(exported: ONNXArtifact) -> Manifest:
    return exported.record


def with_signature(manifest: Manifest, signature: Signature) -> Manifest:
    sizes = {"batch": DimRange(1, 16, 32)}
    return dataclasses.replace(manifest, signature=signature, shape_ranges=sizes, shape_ranges_from="training")


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        (Signature((ROWS,), (SCORES,)), None),
        (Signature((ROWS, TensorSpec("t", "float32", ())), (SCORES,)), "the batch is not the first dim of t"),
        (Signature((ROWS,), (SCORES, TensorSpec("m", "float32", (3,)))), "the batch is not the first dim of m"),
        (Signature((TensorSpec("x", "float32", (4, "batch")),), (SCORES,)), "the batch is not the first dim of x"),
        (Signature((TensorSpec("x", "float32", (1, 4)),), (SCORES,)), "the graph has no batch dim"),
        (Signature((ROWS,), (SCORES,), ranges={"batch": SizeRange(2)}), "the graph takes batches of 2 or more"),
        (Signature((ROWS,), (SCORES,), relations=("batch is a multiple of 2",)), "batch is a multiple of 2"),
    ],
)
def test_requests_are_joined_only_where_that_is_right(
    signature: Signature, reason: str | None, manifest: Manifest
) -> None:
    expected = Batching(32, 16) if reason is None else Batching(0, reason=reason)
    assert batching(with_signature(manifest, signature)) == expected


def test_the_largest_batch(manifest: Manifest) -> None:
    free = with_signature(manifest, Signature((ROWS,), (SCORES,)))
    assert batching(free, 0) == Batching(0)
    assert batching(free, 8) == Batching(8, 8)
    assert batching(dataclasses.replace(free, shape_ranges={})) == Batching(8, 1)
    of_sample = dataclasses.replace(free, shape_ranges_from="sample")
    assert batching(of_sample) == Batching(32, 16, is_of_sample=True)
    assert batching(of_sample, 8) == Batching(8, 8)
    limited = with_signature(manifest, Signature((ROWS,), (SCORES,), ranges={"batch": SizeRange(1, 40)}))
    with pytest.raises(ConfigurationError, match="the graph is correct up to 40"):
        batching(limited, 41)
    with pytest.raises(ConfigurationError, match="the largest batch is -1"):
        batching(limited, -1)


def test_a_dtype_that_triton_does_not_know(manifest: Manifest) -> None:
    odd = with_signature(manifest, Signature((TensorSpec("x", "float8_e4m3fn", ("batch", 4)),), (SCORES,)))
    with pytest.raises(ConfigurationError, match="dtype float8_e4m3fn, which Triton does not know"):
        config("odd", odd, Batching(0), {}, [])


@pytest.mark.slow
def test_triton_reads_every_type_and_shape(manifest: Manifest) -> None:
    inputs = (TensorSpec('i"m\\g', "uint8", ("batch", "height", "width", 3)), TensorSpec("t", "float32", ("batch",)),
              TensorSpec("words", "string", ("batch", 2)), TensorSpec("half", "bfloat16", ("batch", 1)))  # fmt: skip
    made = with_signature(manifest, Signature(inputs, (SCORES, TensorSpec("mask", "bool", ("batch", "2*height")))))
    warmup = [WarmupInput("t", "float32", (), "input_1")]
    found = parsed(config("net", made, Batching(8, 4), {"y": "labels_0.txt"}, warmup))
    assert (found.name, found.backend, found.max_batch_size) == ("net", "onnxruntime", 8)
    assert found.HasField("dynamic_batching")
    kinds = type(found.input[0]).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number
    assert [(i.name, kinds[i.data_type].name, list(i.dims)) for i in found.input] == [
        ('i"m\\g', "TYPE_UINT8", [-1, -1, 3]),
        ("t", "TYPE_FP32", [1]),
        ("words", "TYPE_STRING", [2]),
        ("half", "TYPE_BF16", [1]),
    ]
    assert [i.HasField("reshape") for i in found.input] == [False, True, False, False]
    assert [(o.name, list(o.dims), o.label_filename) for o in found.output] == [
        ("y", [3], "labels_0.txt"),
        ("mask", [-1], ""),
    ]
    assert [w.batch_size for w in found.model_warmup] == [1, 4]
    alone = parsed(config("net", made, Batching(0), {}, []))
    assert (alone.max_batch_size, alone.HasField("dynamic_batching")) == (0, False)
    assert list(alone.input[0].dims) == [-1, -1, -1, 3]
