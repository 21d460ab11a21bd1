"""A variant whose large matrices are in 4-bit integers, made by onnxruntime's quantizer; it computes in float32."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from lightning_onnx.checks.metric_names import Mode
from lightning_onnx.errors import VariantNotApplicable
from lightning_onnx.onnxfile import walk
from lightning_onnx.option_names import known_options
from lightning_onnx.option_values import check_choice, check_number
from lightning_onnx.variants import base, files
from lightning_onnx.variants.base import Making

_BLOCKS = (16, 32, 64, 128, 256)
_QUANTIZED = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


@known_options
@dataclasses.dataclass(frozen=True)
class Int4:
    """A model whose large matrices take about a seventh of their size: 4 bits a weight, and a scale for each block.

    Made by ``onnxruntime.quantization.matmul_nbits_quantizer`` as ``MatMulNBits``, an operator of onnxruntime's own.
    Activations, convolutions, embeddings and small matrices stay as they are. It suits transformers and other models
    that consist of large linear layers; one without any is skipped.

    Args:
        block_size: Number of weights that share a scale: 16, 32, 64, 128 or 256. Smaller blocks are more accurate.
        symmetric: Whether zero is in the middle of each block's range; otherwise, each block stores its own zero point.
        min_weights: Number of weights from which a matrix is large.
        max_difference: How much outputs may differ, as a share of their scale.
        max_metric_drop: How much worse a metric may get: 0.01 is a hundredth of an accuracy, or 1% of an error.
        metric: The metric that decides; default: all logged metrics, but no losses where an accuracy is logged.
        name: Its file is ``model.<name>.onnx``.
        metric_mode: ``"min"`` if lower values of ``metric`` are better, ``"max"`` if higher ones are; default: as
            ``ModelCheckpoint``, torchmetrics or the metric's name say.

    Example:
        >>> Int4(block_size=64).name
        'int4'
    """

    block_size: int = 32
    symmetric: bool = False
    min_weights: int = 2**14
    max_metric_drop: float = 0.01
    max_difference: float = 0.2
    metric: str | None = None
    name: str = "int4"
    metric_mode: Mode | None = None
    needs_validation: bool = dataclasses.field(default=True, init=False)

    def __post_init__(self) -> None:
        """Check the options."""
        base.check_options(self)
        check_choice(self, "block_size", _BLOCKS)
        check_choice(self, "symmetric", (False, True))
        check_number(self, "min_weights", least=1, is_whole=True)

    def make(self, making: Making, destination: Path) -> list[str]:
        """Quantize."""
        options = (self.block_size, self.symmetric, self.min_weights)
        number: int = making.call(f"{__name__}:convert", str(making.model_path), str(destination), *options)
        if not number:
            raise VariantNotApplicable(
                f"no matrix product has a constant matrix of {self.min_weights} weights or more, "
                "so int4 would save nothing"
            )
        return [f"{number} matri{'x' if number == 1 else 'ces'} of 4-bit weights in blocks of {self.block_size}"]


def convert(model_path: str, destination: str, block_size: int, symmetric: bool, min_weights: int) -> int:
    """Write the quantized model, and return the number of quantized products; nothing is written if there are none."""
    from onnxruntime.quantization import matmul_nbits_quantizer

    logging.getLogger(matmul_nbits_quantizer.__name__).setLevel(logging.WARNING)  # it logs each node
    model = onnx.load(model_path)
    _split_gemms(model.graph, min_weights)
    large = _large(model.graph, "MatMul", min_weights)
    if not large:
        return 0
    small = []
    for node in walk.nodes(model.graph):
        if node.op_type == "MatMul" and node.output[0] not in large:
            node.name = node.name or f"unnamed_{node.output[0]}"
            small.append(node.name)
    with files.scratch():
        quantizer = matmul_nbits_quantizer.MatMulNBitsQuantizer(
            model, block_size=block_size, is_symmetric=symmetric, nodes_to_exclude=small
        )
        quantizer.process()
    files.save(quantizer.model.model, Path(model_path), Path(destination))
    return sum(node.op_type == "MatMulNBits" for node in walk.nodes(quantizer.model.model.graph))


def _large(graph: onnx.GraphProto, op_type: str, min_weights: int) -> set[str]:
    """Return the outputs of the nodes that multiply by a large constant matrix, those of subgraphs included."""
    large = {
        t.name
        for t in graph.initializer
        if len(t.dims) == 2 and t.data_type in _QUANTIZED and math.prod(t.dims) >= min_weights
    }
    return {node.output[0] for node in walk.nodes(graph) if node.op_type == op_type and node.input[1] in large}


def _split_gemms(graph: onnx.GraphProto, min_weights: int) -> None:
    """Split ``Gemm``, which linear layers become on matrices, into ``MatMul``, which can be quantized, and ``Add``."""
    large = _large(graph, "Gemm", min_weights)
    values = {t.name: t for t in graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        plain = not attributes.get("transA") and all(attributes.get(name, 1.0) == 1.0 for name in ("alpha", "beta"))
        if node.output[0] not in large or not plain:
            nodes.append(node)
            continue
        matrix = node.input[1]
        if attributes.get("transB"):
            matrix = f"rows_of_{node.input[1]}"
            if matrix not in values:
                turned = np.ascontiguousarray(numpy_helper.to_array(values[node.input[1]]).T)
                values[matrix] = numpy_helper.from_array(turned, matrix)
                graph.initializer.append(values[matrix])
        has_bias = len(node.input) > 2 and bool(node.input[2])
        product = f"product_of_{node.output[0]}" if has_bias else node.output[0]
        nodes.append(onnx.helper.make_node("MatMul", [node.input[0], matrix], [product], name=node.name))
        if has_bias:
            nodes.append(
                onnx.helper.make_node("Add", [product, node.input[2]], node.output, name=f"bias_of_{node.name}")
            )
    del graph.node[:]
    graph.node.extend(nodes)
