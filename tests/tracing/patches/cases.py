"""For each patch, a small module whose trace is right with the patch and wrong without it.

One table of cases: it is above 300 lines because it has as many cases as there are patches.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import io
import logging
import math
import sys
import warnings
from collections.abc import Callable
from typing import Any

import onnx_ir
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import exported_program
from torch.nn import functional

from lightning_onnx.errors import EngineError
from lightning_onnx.tracing.base import tracing
from lightning_onnx.tracing.captures.base import dynamic_shapes_of
from lightning_onnx.tracing.captures.symbolic_int import SymbolicInt
from lightning_onnx.tracing.captures.torch_export import TorchExport
from lightning_onnx.tracing.captures.traced_values import TracedValues
from lightning_onnx.tracing.dynamo import DynamoEngine
from lightning_onnx.tracing.patches.derivatives import takes_derivative
from lightning_onnx.tracing.patches.table import patched
from lightning_onnx.tracing.torchscript import TorchScriptEngine
from tests.tracing.making import made

Case = Callable[[pytest.CaptureFixture[str]], None]
CASES: dict[str, Case] = {}
"""Each raises if its patch is missing."""


class Calls(nn.Module):
    """Calls a function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


def case(function: Case) -> Case:
    CASES[function.__name__] = function
    return function


def similarity(x: Tensor) -> Tensor:
    """Compare columns with each other, those of two views."""
    views = torch.cat((x, x * 2), 1)
    return views.mT @ views


def axes_of(traced: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> tuple[dict[int, str], ...]:
    """Name the dims in which two calls differ."""
    return tuple(
        {d: f"d{i}_{d}" for d in range(a.dim()) if a.shape[d] != b.shape[d]}
        for i, (a, b) in enumerate(zip(traced, other, strict=True))
    )


def check_program(
    module: nn.Module, traced: tuple[Tensor, ...], other: tuple[Tensor, ...], capture: Any, *, rewritten: bool = False
) -> None:
    """Capture with some tensors, and compare the program with the module on others."""
    flat, request = made(module, *traced, axes=axes_of(traced, other))
    with tracing("dynamo"):
        program = capture.capture(flat, request.tensors, dynamic_shapes_of(request.axes)).program
        program = program.run_decompositions({}) if rewritten else program
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(module(*other))
        torch.testing.assert_close(list(program.module()(*other)), expected, rtol=1e-4, atol=1e-5)


def check_file(module: nn.Module, traced: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> None:
    """Translate to ONNX with some tensors, and compare what onnxruntime computes with the module on others.

    Sequences, which many runtimes lack, are not allowed.
    """
    flat, request = made(module, *traced, axes=axes_of(traced, other))
    model = DynamoEngine(TorchExport()).trace(flat, request, 20, {}).first.model
    assert not any("Sequence" in node.op_type for node in model.graph)
    session = onnxruntime.InferenceSession(onnx_ir.to_proto(model).SerializeToString())
    feeds = dict(zip([i.name for i in session.get_inputs()], [t.numpy() for t in other], strict=True))
    with torch.no_grad():
        expected = torch.utils._pytree.tree_leaves(module(*other))
    found = [torch.from_numpy(a) for a in session.run(None, feeds)]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


ROWS = torch.randn(3, 7), torch.randn(3, 20)
"""The sizes of a traced call and of another one."""

FREE: dict[str, Callable[[Tensor], Tensor]] = {
    "length": lambda x: x.T / len(x.T),
    "sqrt": lambda x: x / math.sqrt(x.shape[1]),
    "log": lambda x: x * math.log(x.shape[1], 512),
    "log2": lambda x: x * math.log2(x.shape[1]),
    "log10": lambda x: x * math.log10(x.shape[1]),
    "exp": lambda x: x * math.exp(-x.shape[1] / 50),
    "fftfreq": lambda x: x * torch.fft.fftfreq(x.shape[1]),
    "rfftfreq": lambda x: x.sum(1, keepdim=True) * torch.fft.rfftfreq(x.shape[1], d=0.1),
    "linspace": lambda x: x + torch.linspace(-1, 1, x.shape[1]),
    "vander": lambda x: torch.vander(x[0], 3),
    "cov": lambda x: torch.cov(x),
    "tensor_cov": lambda x: x.cov(),
    "corrcoef": lambda x: torch.corrcoef(x),
    "tensor_corrcoef": lambda x: x.corrcoef(),
    "diagonal": lambda x: torch.diagonal(similarity(x), -x.shape[1]),
    "tensor_diagonal": lambda x: similarity(x).diagonal(offset=x.shape[1]),
    "diag": lambda x: torch.diag(similarity(x), x.shape[1]),
    "tensor_diag": lambda x: similarity(x).diag(-x.shape[1]),
}
"""Functions of a matrix with a dynamic number of columns."""

for name, function in FREE.items():
    CASES[name] = lambda capfd, f=function: check_program(Calls(f), ROWS[:1], ROWS[1:], TorchExport())  # type: ignore[misc]


def by_groups(convolution: Callable[..., Tensor], **options: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """Return a function that convolves each image of a batch with its own kernel."""

    def function(images: Tensor, kernels: Tensor) -> Tensor:
        batch, channels = images.shape[:2]
        rows = images.reshape(1, batch * channels, *images.shape[2:])
        found = convolution(rows, kernels.flatten(0, 1), groups=batch, **options)
        return found.unflatten(1, (batch, -1))

    return function


for owner in (torch, functional):
    for dims in (1, 2):
        name = f"{owner.__name__.rpartition('.')[2]}_conv{dims}d_by_groups"

        def of_groups(capfd: Any, owner: Any = owner, dims: int = dims) -> None:
            options: dict[str, Any] = {"stride": 2, "padding": 1} if owner is torch else {"padding": "same"}
            function = by_groups(lambda *args, **named: getattr(owner, f"conv{dims}d")(*args, **named), **options)
            image, kernel = (3, *[8] * dims), (2, 3, *[3] * dims)
            traced, other = ((torch.randn(n, *image), torch.randn(n, *kernel)) for n in (2, 5))
            check_file(Calls(function), traced, other)

        CASES[name] = of_groups

FREE_IN_FILES: dict[str, Callable[[Tensor], Tensor]] = {
    "chunk": lambda x: torch.chunk(x, 2, 1)[0],
    "rules_are_applied": lambda x: torch.lgamma(x),
    "tensor_chunk": lambda x: x.chunk(2, 1)[0],
    "tensor_split": lambda x: torch.tensor_split(x, 3, 1)[1].sum(1),
    "tensor_tensor_split": lambda x: x.tensor_split(3, dim=1)[1].sum(1),
    "deep_copy": lambda x: x + copy.deepcopy(torch.tensor(2.0)),
    **{
        f"{kind}_pool_of_the_whole_{dims}d": lambda x, kind=kind, dims=dims: getattr(functional, f"{kind}_pool{dims}d")(
            image := x[(None,) * dims].transpose(0, -2).contiguous(), tuple(image.shape[2:])
        )
        for kind in ("max", "avg")
        for dims in (1, 2, 3)
    },
}

for name, function in FREE_IN_FILES.items():
    CASES[name] = lambda capfd, f=function: check_file(Calls(f), ROWS[:1], ROWS[1:])  # type: ignore[misc]


@case
def istft(capfd: Any) -> None:
    def signal(x: Tensor) -> Tensor:
        found = torch.stft(x, 16, 8, window=torch.hann_window(16), return_complex=True)
        return torch.istft(found, 16, 8, window=torch.hann_window(16), length=x.shape[-1])

    check_program(Calls(signal), (torch.randn(2, 64),), (torch.randn(2, 101),), TorchExport())


class Recurrent(nn.Module):
    """Reads a size of the result of recurrent layers."""

    def __init__(self, *layers: nn.RNNBase, reshapes: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.reshapes = reshapes

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x, _ = layer(x)
        if self.reshapes:
            return x.reshape(x.shape[0] * x.shape[1], -1).sigmoid().view(x.shape[0], x.shape[1], -1)
        return x.sum(1) / x.shape[1]


SEQUENCES = torch.randn(3, 7, 4), torch.randn(3, 20, 4)


@case
def size_after_a_recurrent_layer(capfd: Any) -> None:
    layers = nn.GRU(4, 6, batch_first=True), nn.RNN(6, 5, batch_first=True, bidirectional=True)
    check_program(Recurrent(*layers), SEQUENCES[:1], SEQUENCES[1:], TorchExport())


@case
def reshape_after_a_recurrent_layer(capfd: Any) -> None:
    layer = nn.LSTM(4, 6, num_layers=2, bidirectional=True, batch_first=True)
    check_program(Recurrent(layer, reshapes=True), SEQUENCES[:1], SEQUENCES[1:], TorchExport(), rewritten=True)


@case
def distribution(capfd: Any) -> None:
    torch.distributions.Distribution.set_default_validate_args(True)
    module = Calls(lambda x: torch.distributions.Normal(x, x.exp()).log_prob(x * 2))
    check_program(module, ROWS[:1], ROWS[1:], TorchExport())


class Encodes(nn.Module):
    def __init__(self, causal: bool = False) -> None:
        super().__init__()
        self.net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), 1, nn.LayerNorm(8))
        self.causal = causal

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]) if self.causal else None
        return self.net(x, mask=mask, src_key_padding_mask=padding)


@case
def fast_path(capfd: Any) -> None:
    translate(TorchScriptEngine(), nn.TransformerEncoderLayer(8, 2, 8, batch_first=True), torch.randn(2, 5, 8))


@case
def causal_mask(capfd: Any) -> None:
    net = Encodes(causal=True).eval()
    check_program(net, (torch.randn(2, 5, 8),), (torch.randn(2, 9, 8),), TorchExport())


@case
def padded_encoder(capfd: Any) -> None:
    net, padding = Encodes().eval(), torch.arange(5) > torch.tensor([[4], [2]])
    other = torch.arange(9) > torch.tensor([[8], [3]])
    check_program(net, (torch.randn(2, 5, 8), padding), (torch.randn(2, 9, 8), other), TorchExport())


class Moves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.net.to(x.device)(x)


@case
def moved_module(capfd: Any) -> None:
    check_program(Moves(), (torch.randn(2, 7),), (torch.randn(3, 7),), TorchExport())


@case
def batched_nms(capfd: Any) -> None:
    ops = pytest.importorskip("torchvision.ops")

    def kept(corners: Tensor, scores: Tensor) -> Tensor:
        return ops.batched_nms(torch.cat([corners, corners + 1], 1), scores, (scores > 0.5).long(), 0.5)

    few, many = torch.rand(40, 2) * 50, torch.rand(1200, 2) * 50
    check_program(Calls(kept), (few, torch.rand(40)), (many, torch.rand(1200)), TorchExport())


@case
def flexible_attention(capfd: Any) -> None:
    from torch.nn.attention import flex_attention as flex

    def attend(x: Tensor) -> Any:
        def near(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return score + slopes[head] * (query - key)

        def later(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            return query > key  # hides all from the first

        slopes = torch.tensor([0.5, -0.25])
        blocks = flex.create_block_mask(later, None, None, 7, 7, device="cpu")
        return flex.flex_attention(x, x[:, :1], x[:, 1:], score_mod=near, block_mask=blocks, enable_gqa=True)

    check_file(Calls(attend), (torch.randn(2, 2, 7, 4),), (torch.randn(3, 2, 7, 4),))


def transform(*sizes: int) -> Any:
    detection = pytest.importorskip("torchvision.models.detection")
    return detection.transform.GeneralizedRCNNTransform(*sizes, [0.5] * 3, [0.2] * 3).eval()


@case
def resized_image(capfd: Any) -> None:
    resize = transform(64, 128).resize
    module = Calls(lambda x: resize(x)[0])
    check_program(module, (torch.randn(3, 72, 80),), (torch.randn(3, 200, 130),), TorchExport())


@case
def batched_images(capfd: Any) -> None:
    module = Calls(lambda x: transform(64, 128).batch_images([x]))
    check_program(module, (torch.randn(3, 72, 80),), (torch.randn(3, 200, 130),), TorchExport())


def translate(engine: Any, module: nn.Module, *tensors: Tensor, opset_version: int = 18) -> None:
    flat, request = made(module, *tensors)
    engine.trace(flat, request, opset_version, {})


def shifted_in_place(x: Tensor) -> Tensor:
    columns, y = torch.tensor([1]), x * 2
    y[..., columns] = torch.roll(y[..., columns], 1, 1)
    return y


@case
def write_beside_an_ellipsis(capfd: Any) -> None:
    flat, request = made(Calls(shifted_in_place), torch.randn(2, 5, 3))
    model = TorchScriptEngine().trace(flat, request, 18, {}).first.model
    assert all(value is not None for node in model.graph if node.op_type == "Add" for value in node.inputs)


class FinalState(nn.Module):
    """Uses only the final state of packed sequences."""

    def __init__(self, layer: nn.RNNBase, *, is_sorted: bool) -> None:
        super().__init__()
        self.layer, self.is_sorted = layer, is_sorted

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=self.is_sorted)
        return self.layer(packed)[1]


@case
def final_state_of_packed_sequences(capfd: Any) -> None:
    translate(TorchScriptEngine(), FinalState(nn.GRU(3, 4), is_sorted=True), torch.randn(2, 5, 3), torch.tensor([5, 3]))


class PadsToTheLongest(nn.Module):
    """Packs sequences, and pads them again as ``pad_packed_sequence`` does by default."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.GRU(3, 4)

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths)
        return nn.utils.rnn.pad_packed_sequence(self.layer(packed)[0])[0]


@case
def sequences_padded_to_the_longest(capfd: Any) -> None:
    flat, request = made(PadsToTheLongest(), torch.randn(5, 2, 3), torch.tensor([5, 3]))
    model = TorchScriptEngine().trace(flat, request, 18, {}).first.model
    assert "ReduceMax" in {node.op_type for node in model.graph}


@case
def nothing_is_printed(capfd: Any) -> None:
    def printing(x: Tensor) -> Tensor:
        print("traced")
        print("traced", file=sys.stderr)
        return x * 2

    translate(TorchScriptEngine(), Calls(printing), torch.randn(2, 3))
    assert capfd.readouterr() == ("", "")


@case
def no_warnings(capfd: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with tracing("torchscript"):
            torch.onnx.export(nn.Linear(3, 2).eval(), (torch.randn(2, 3),), io.BytesIO(), dynamo=False)


def logged(logger: str, engine: Any, module: nn.Module, *tensors: Tensor, opset_version: int = 18) -> list[str]:
    """What a logger lets through during a trace."""
    told: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: told.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger(logger).addHandler(handler)
    try:
        with contextlib.suppress(EngineError):
            translate(engine, module, *tensors, opset_version=opset_version)
    finally:
        logging.getLogger(logger).removeHandler(handler)
    return told


def decides(x: Tensor, number: Tensor) -> Tensor:
    return x * 2 if int(number.max()) == 3 else x + 1


for logger, arguments in {
    "torch.onnx": (DynamoEngine(TorchExport()), Calls(torch.relu), torch.randn(2, 3)),
    "onnxscript": (DynamoEngine(TorchExport()), Calls(torch.relu), torch.randn(2, 3)),
    "torch.fx.experimental.symbolic_shapes": (
        DynamoEngine(TorchExport()),
        Calls(decides),
        torch.randn(2, 3),
        torch.tensor([3]),
    ),
}.items():

    def no_log(capfd: Any, logger: str = logger, arguments: Any = arguments) -> None:
        opset_version = 17 if logger in ("torch.onnx", "onnxscript") else 18
        assert not logged(logger, *arguments, opset_version=opset_version)

    CASES[f"no_log_of_{logger.replace('.', '_')}"] = no_log


def fails() -> None:
    with pytest.raises(EngineError):
        translate(TorchScriptEngine(), Calls(lambda x: x.cummax(1).values), torch.ones(3, 4))


@case
def no_graph(capfd: Any) -> None:
    fails()
    assert "graph(" not in capfd.readouterr().out


@case
def no_graph_after_an_export_by_torchscript(capfd: Any) -> None:
    torch._C._jit_set_onnx_log_enabled(True)
    try:
        fails()
    finally:
        torch._C._jit_set_onnx_log_enabled(False)
    assert "graph(" not in capfd.readouterr().out


@case
def translations_are_parsed_once(capfd: Any) -> None:
    from torch.onnx._internal.exporter import _registration

    found = []
    for _ in range(2):
        with patched("trace"):
            found.append(_registration.onnxscript_apis.get_torchlib_ops())
    assert found[0] is found[1]


@case
def signatures_are_read_once(capfd: Any) -> None:
    from torch.onnx._internal.exporter import _registration, _schemas

    found = []
    for _ in range(2):
        with patched("trace"):
            found += _registration.ONNXRegistry.from_torchlib().get_decomps(torch.ops.aten.relu.default)
    assert found[0].signature is found[1].signature
    with patched("trace"):
        other = _schemas.op_signature_from_function(found[0].onnx_function, "other", "name")
    assert (other.domain, other.name) == ("other", "name")


@case
def operators_are_listed_once(capfd: Any) -> None:
    from torch._export import utils

    listed = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(
            torch._C, "_dispatch_get_registrations_for_dispatch_key", lambda key: listed.append(key) or []
        )
        for _ in range(2):
            with patched("trace"):
                utils._materialize_cpp_cia_ops()
                utils._materialize_cpp_cia_ops()
    assert len(listed) == 2


@case
def kernels_are_only_stored(capfd: Any) -> None:
    key, op = torch._C.DispatchKey.CPU, torch.ops.aten.relu.default
    with patched("trace"), pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(op, "py_kernels", {})
        with pytest.MonkeyPatch.context() as inspecting:
            inspecting.setattr(inspect, "isclass", None)
            assert op.py_impl(key)(torch.relu) is torch.relu
        assert op.py_kernels == {key: torch.relu}
        with pytest.raises(RuntimeError, match="override"):
            op.py_impl(key)(torch.relu)
        with pytest.raises(AssertionError, match="mode"):
            op.py_impl(torch._C.DispatchKey.Python)(torch.relu)


@case
def kernels_after_an_interrupt(capfd: Any) -> None:
    """Ctrl-C comes when torch is about to replace the kernels of the twentieth operator."""
    flat, request = made(nn.Sequential(nn.Linear(3, 2), nn.ReLU(inplace=True)), torch.ones(2, 3))
    before = {op: dict(op.py_kernels) for op in exported_program._collect_all_valid_cia_ops()}
    seen, original = [], exported_program._get_decomp_for_cia

    def noted(op: Any) -> Any:
        seen.append(op)
        if len(seen) == 20:
            raise KeyboardInterrupt
        return original(op)

    try:
        with pytest.MonkeyPatch.context() as monkeypatch:
            monkeypatch.setattr(exported_program, "_get_decomp_for_cia", noted)
            with pytest.raises(KeyboardInterrupt), tracing("dynamo"):
                DynamoEngine(TorchExport()).trace(flat, request, 20, {})
        assert len(seen) == 20
        assert not [op for op, kernels in before.items() if op.py_kernels != kernels]
    finally:
        for op, kernels in before.items():
            op.py_kernels.clear()
            op.py_kernels.update(kernels)
            op._dispatch_cache.clear()


@case
def devices_are_counted_once(capfd: Any) -> None:
    counted = []
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(torch.cuda, "_is_compiled", lambda: bool(counted.append(None)))
        for _ in range(2):
            with patched("trace"):
                assert torch.cuda.device_count() == torch.cuda.device_count() == 0
    assert len(counted) == 2


@case
def autocast_by_the_method(capfd: Any) -> None:
    @torch.autocast("cpu", dtype=torch.bfloat16)
    def product(x: Tensor) -> Tensor:
        with torch.amp.autocast("cpu", dtype=torch.bfloat16):
            return x @ x.T + (x @ x.T)

    flat, request = made(Calls(product), torch.randn(4, 4))
    with tracing("dynamo"):
        program = TorchExport().capture(flat, request.tensors, dynamic_shapes_of(request.axes)).program
    (got,) = program.module()(*request.tensors)
    assert got.dtype == torch.float32


@case
def decision_by_a_value(capfd: Any) -> None:
    number = torch.tensor([3])
    check_program(Calls(decides), (torch.randn(3, 4), number), (torch.randn(6, 4), number), TracedValues())


@case
def offset_by_a_size(capfd: Any) -> None:
    def halves(x: Tensor, number: Tensor) -> Tensor:
        return x[x.shape[0] // 2] + torch.zeros(int(number.max()), 4)[0]

    number = torch.tensor([2, 3])
    check_program(Calls(halves), (torch.randn(4, 4), number), (torch.randn(7, 4), number), TracedValues())


@case
def int_of_a_tensor(capfd: Any) -> None:
    module = Calls(lambda x: torch.zeros(int(x.max()) + 1).index_add(0, x, torch.ones(x.shape[0])))
    check_program(module, (torch.tensor([0, 0, 1, 2]),), (torch.tensor([4, 4, 0, 1, 1, 1]),), SymbolicInt())


def check_derivative(by: Callable[[Tensor], object]) -> None:
    with patched("derivatives"):
        assert takes_derivative(lambda: by(torch.ones(2, requires_grad=True)))


@case
def derivative_by_grad(capfd: Any) -> None:
    check_derivative(lambda x: torch.autograd.grad(x.sum(), x))


@case
def derivative_by_backward(capfd: Any) -> None:
    check_derivative(lambda x: x.sum().backward())


class DrawsFromItsOwn(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, x: Tensor) -> Tensor:
        kept = torch.rand(x.shape, generator=self.generator) < 2
        return x * kept * x.bernoulli(1.0, generator=self.generator)


@case
def own_generator(capfd: pytest.CaptureFixture[str]) -> None:
    check_program(DrawsFromItsOwn(), (torch.randn(3, 7),), (torch.randn(3, 20),), TorchExport())


@case
def fake_quantization(capfd: pytest.CaptureFixture[str]) -> None:
    module = torch.ao.quantization.FusedMovingAvgObsFakeQuantize()
    module(ROWS[0])
    flat, request = made(module, ROWS[0])
    TorchScriptEngine().trace(flat, request, 18, {})
