"""The part of a graph between its preprocessing and its postprocessing: found by its values, run by itself.

A validation loop calls the method with prepared inputs, so that this part answers for the method there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import logging
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_onnx.artifacts.stand_in import ExportedCall, feeds_of
from lightning_onnx.checks.base import CheckContext
from lightning_onnx.checks.loaders import Loaders
from lightning_onnx.checks.validation import Validation
from lightning_onnx.errors import ONNXExportError, SampleError, first_line
from lightning_onnx.manifest.fused import WITHOUT_PART
from lightning_onnx.module.arrays import feeds, to_numpy
from lightning_onnx.module.calls.nested import TensorPath, flatten_result
from lightning_onnx.module.calls.sample import make_sample, method_signature
from lightning_onnx.module.calls.signature import Signature, TensorSpec
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.fused import PREPROCESS, Around
from lightning_onnx.onnxfile.part import extract, operators_after, with_all_values
from lightning_onnx.onnxfile.privacy import without_paths
from lightning_onnx.onnxfile.specs import dims_of
from lightning_onnx.pipeline.plan import Plan

log = logging.getLogger(__name__)

_LARGEST = 2**29
"""In bytes: of a larger model, all values would take too much memory."""

_TRIES = 16
"""How many choices of equal values are tried."""

ON_THE_PART = "on the part of the graph between preprocessing and postprocessing"


@dataclasses.dataclass(frozen=True)
class InnerPart:
    """What a part of the graph takes and returns.

    Attributes:
        inputs: Names of the values that it takes: the method's arguments.
        outputs: Names of the values that it returns: the method's result.
        after: The operators of the postprocessing, each once, in their order.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    after: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Call:
    """A call of the method inside the composition, with its tensors by path."""

    given: Mapping[TensorPath, Tensor]
    returned: Mapping[TensorPath, Tensor]

    def without(self, paths: Sequence[TensorPath]) -> _Call:
        return _Call({path: tensor for path, tensor in self.given.items() if path not in paths}, self.returned)


@contextlib.contextmanager
def for_the_loop(
    plan: Plan, flat: FlatModule, context: CheckContext, loaders: Loaders
) -> Iterator[tuple[CheckContext, InnerPart | None]]:
    """Yield the context for checks that run the validation loop, and the part of the graph that answers there.

    Args:
        plan: The plan, whose graph has preprocessing or postprocessing.
        flat: The module with the exported weights.
        context: The context for other checks.
        loaders: The validation batches.
    """
    with tempfile.TemporaryDirectory() as directory:
        target = Path(directory) / "part.onnx"
        try:
            part, call = _found(plan, flat, context, target)
        except Exception as error:
            log.debug("the part between preprocessing and postprocessing is not found", exc_info=True)
            reason = str(error) if isinstance(error, ONNXExportError) else without_paths(first_line(error))
            without = f"the validation loop calls the method with prepared inputs, and {WITHOUT_PART} ({reason})"
            yield context.replace(no_validation=without), None
            return
        changed = context.replace(model_path=target, signature=call.signature)
        try:
            yield changed.replace(validation=Validation(flat.module, loaders, call)), part
        except SampleError as error:
            yield changed.replace(no_validation=str(error)), part


def _found(plan: Plan, flat: FlatModule, context: CheckContext, target: Path) -> tuple[InnerPart, ExportedCall]:
    around, tensors = plan.config.around, plan.graph.request.tensors
    if context.model_path.stat().st_size > _LARGEST:
        raise SampleError("the model is too large to look at all its values")
    with flat.call_state.kept(), torch.no_grad(), flat.random_state_kept():
        calls = _calls(around, flat, tensors)
    feed = feeds(plan.graph.signature.inputs, tensors)
    values = _values(context, feed, target.with_name("values.onnx"))
    known = {**feed, **values}
    absent = [path for path, tensor in calls[0].given.items() if not _names_of(tensor, known)]
    if len(absent) == len(calls[0].given):
        raise SampleError(_no_value(absent))
    calls = [call.without(absent) for call in calls]  # labels, which the method does not read: its answers tell
    problems: list[Exception] = []
    for inputs, outputs in itertools.islice(_candidates(calls[0], known, values), _TRIES):
        try:
            extract(context.model_path, inputs, outputs, target)
            exported = ExportedCall(around.method, _signature(target), tuple(calls[0].given), tuple(calls[0].returned))
            _check_answers(context, target, exported, outputs, calls)
        except Exception as error:  # another value may do
            problems.append(error)
        else:
            return InnerPart(tuple(inputs), tuple(outputs), operators_after(context.model_path, outputs)), exported
    raise problems[0] if not absent else SampleError(f"{_no_value(absent)}, and {problems[0]}")


def _check_answers(
    context: CheckContext, part: Path, exported: ExportedCall, outputs: Sequence[str], calls: Sequence[_Call]
) -> None:
    run = context.runtime.load(part).run
    for call in calls:
        answers = run(feeds_of(exported, call.given))
        for name, tensor in zip(outputs, call.returned.values(), strict=True):
            if not _equal(answers[name], to_numpy(tensor)):
                raise SampleError("it does not answer like the method")


def _calls(around: Around, flat: FlatModule, tensors: Sequence[Tensor]) -> list[_Call]:
    """Return the call inside the composition, and one with other values, if the method takes them.

    On the sample alone, a value before a ReLU may equal the one after it.
    """
    module = flat.module
    args, kwargs = flat.sample.arguments(t.clone() for t in tensors)
    signature = method_signature(module, around.method)
    if around.preprocess is not None:
        prepare = getattr(module, around.preprocess if isinstance(around.preprocess, str) else PREPROCESS)
        args, kwargs = around.arguments(module, prepare(*args, **kwargs))
    sample = make_sample(signature, args, kwargs)
    method: Callable[..., Any] = module if around.method == "forward" else getattr(module, around.method)

    def call(given: Sequence[Tensor]) -> _Call:
        args, kwargs = sample.arguments(t.clone() for t in given)
        with flat.call_state.kept(), flat.random_state_kept():  # both calls begin alike
            structure, returned = flatten_result(method(*args, **kwargs))
        return _Call(dict(zip(sample.paths, given, strict=True)), dict(zip(structure.paths, returned, strict=True)))

    calls = [call(sample.tensors)]
    for others in (_others(sample.tensors, turns=True), _others(sample.tensors, turns=False)):
        try:
            other = call(others)
        except Exception:
            log.debug("the method does not take other values", exc_info=True)
        else:
            return [*calls, other] if other.returned.keys() == calls[0].returned.keys() else calls
    return calls


def _others(tensors: Sequence[Tensor], *, turns: bool) -> list[Tensor]:
    """Return tensors with the opposite sign and noise; whole numbers, which may be indices, at most change places."""
    noise = torch.Generator().manual_seed(0)
    return [
        torch.randn(t.shape, generator=noise, dtype=t.dtype) * t.abs().mean() - t
        if t.is_floating_point()
        else t.flip(0)
        if turns and t.dim()
        else t
        for t in tensors
    ]


def _values(context: CheckContext, feed: Mapping[str, NDArray[Any]], target: Path) -> dict[str, NDArray[Any]]:
    """Return every value of the graph, in the order in which they are computed."""
    names = with_all_values(context.model_path, target)
    found = context.runtime.load(target).run(dict(feed))
    return {name: found[name] for name in names}


def _candidates(
    call: _Call, known: Mapping[str, NDArray[Any]], computed: Mapping[str, NDArray[Any]]
) -> Iterator[tuple[list[str], list[str]]]:
    """Yield names of values that may be the arguments, the last ones first, and the result, the first ones first."""
    given = [_equal_to(path, tensor, known)[::-1] for path, tensor in call.given.items()]
    for path, tensor in call.returned.items():
        _equal_to(path, tensor, _later(computed, [names[-1] for names in given]))
    for inputs in itertools.product(*given):
        later = _later(computed, inputs)
        with contextlib.suppress(SampleError):  # nothing after these equals the result
            returned = [_equal_to(path, tensor, later) for path, tensor in call.returned.items()]
            yield from ((list(inputs), list(outputs)) for outputs in itertools.product(*returned))


def _equal_to(path: TensorPath, tensor: Tensor, values: Mapping[str, NDArray[Any]]) -> list[str]:
    """Return the names of the values that equal a tensor, in their order.

    Raises:
        SampleError: If there is none.
    """
    names = _names_of(tensor, values)
    if not names:
        raise SampleError(_no_value([path]))
    return names


def _no_value(paths: Sequence[TensorPath]) -> str:
    return f"no value of the graph equals {' or '.join('.'.join(path) or 'what the method returns' for path in paths)}"


def _names_of(tensor: Tensor, values: Mapping[str, NDArray[Any]]) -> list[str]:
    wanted = to_numpy(tensor)
    return [name for name, value in values.items() if _equal(value, wanted)]


def _equal(value: NDArray[Any], wanted: NDArray[Any]) -> bool:
    if value.shape != wanted.shape or value.dtype != wanted.dtype:
        return False
    if not np.issubdtype(wanted.dtype, np.floating):
        return bool(np.array_equal(value, wanted))
    scale = float(np.max(np.abs(wanted), initial=0.0))
    return bool(np.allclose(value, wanted, rtol=1e-3, atol=1e-4 * scale, equal_nan=True))


def _later(values: Mapping[str, NDArray[Any]], inputs: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return the values that are computed after those that the part takes."""
    names = list(values)
    start = max((names.index(name) + 1 for name in inputs if name in names), default=0)
    return {name: values[name] for name in names[start:]}


def _signature(path: Path) -> Signature:
    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs, outputs = ([v for v in side if v.name not in weights] for side in (graph.input, graph.output))
    return Signature(tuple(map(_spec, inputs)), tuple(map(_spec, outputs)))


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    tensor = value.type.tensor_type
    shape = tuple(f"{value.name}_dim_{i}" if dim == "" else dim for i, dim in enumerate(dims_of(tensor)))
    return TensorSpec(value.name, str(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape)
