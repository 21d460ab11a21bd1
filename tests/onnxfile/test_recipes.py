"""Weights are unknown while the graph is optimized; folding must be right for every set of weights."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from lightning_onnx.module.calls import matching
from lightning_onnx.module.calls.observation import Observation
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.weights import copying
from lightning_onnx.pipeline.config import ExportConfig
from lightning_onnx.pipeline.prepare import prepare


def randomized(module: nn.Module) -> nn.Module:
    """Weights and statistics of a norm as training leaves them."""
    with torch.no_grad():
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.5 if "var" in name else torch.randn_like(tensor))
    return module.eval()


LAYERS = {
    "conv": (nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()), (2, 3, 8, 8)),
    "conv_bias": (nn.Sequential(nn.Conv1d(3, 8, 3), nn.BatchNorm1d(8, eps=0.1)), (2, 3, 8)),
    "conv_transpose": (nn.Sequential(nn.ConvTranspose2d(3, 8, 3), nn.BatchNorm2d(8)), (2, 3, 8, 8)),
    "conv_transpose_groups": (nn.Sequential(nn.ConvTranspose2d(4, 8, 3, groups=2), nn.BatchNorm2d(8)), (2, 4, 8, 8)),
    "depthwise": (nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4)), (2, 4, 8, 8)),
    "linear": (nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8)), (3, 5)),
    "linear_no_bias": (nn.Sequential(nn.Linear(5, 8, bias=False), nn.BatchNorm1d(8)), (3, 5)),
    "norm_behind_relu": (nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)), (2, 3, 8, 8)),
    "norm_first": (nn.Sequential(nn.BatchNorm1d(5), nn.Linear(5, 2)), (3, 5)),
    "norm_not_affine": (nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8, affine=False)), (2, 3, 8, 8)),
    "float64": (nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2, bias=False)).double(), (3, 5)),
}


class Shared(nn.Module):
    """One layer followed by two norms: none may be folded into it."""

    def __init__(self):
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x):
        return self.a(self.conv(x)) + self.b(self.conv(x * 2)), self.conv(x)


LAYERS["shared"] = (Shared(), (2, 3, 4, 4))


class SharedBias(nn.Module):
    """Three layers that share a bias, each followed by a norm: three different biases when folded."""

    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([nn.Parameter(torch.randn(5, 5)) for _ in range(3)])
        self.bias = nn.Parameter(torch.randn(5))
        self.norms = nn.ModuleList([nn.BatchNorm1d(5) for _ in range(3)])

    def forward(self, input):
        for weight, norm in zip(self.weights, self.norms, strict=True):
            input = norm(nn.functional.linear(input, weight, self.bias)).relu()
        return input


class OwnBias(nn.Module):
    """A convolution without bias, next to a parameter that has its name."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 3, 1, 1)), nn.Parameter(torch.randn(4))
        self.norm = nn.BatchNorm2d(4)

    def forward(self, input):
        return self.norm(nn.functional.conv2d(input, self.weight)).relu() + self.bias.view(1, -1, 1, 1)


class TwoOrders(nn.Module):
    """One parameter, with its dims in two other orders."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.randn(3, 3, 3))

    def forward(self, input):
        return input @ self.table.permute(2, 0, 1) + input @ self.table.permute(1, 2, 0)


LAYERS |= {
    "shared_bias": (SharedBias(), (3, 5)),
    "own_bias": (OwnBias(), (2, 3, 4, 4)),
    "orders": (TwoOrders(), (4, 3)),
}

WITHOUT_NORM = ("conv", "conv_bias", "conv_transpose", "depthwise", "norm_not_affine")
"""Layers whose norm is folded; the others have layers behind which it stays, or more of them."""


def planned(module, x):
    copied = copying.private_copy(module)
    sample = matching.sample_of(module, "forward", ((x,), {}))
    return copied, prepare(copied, [Observation.of(sample, "x")], ExportConfig())


FAST = ("conv", "norm_first", "own_bias")


@pytest.mark.parametrize("name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in LAYERS])
def test_refreshed_file_is_right_for_other_weights(name, tmp_path):
    module, shape = LAYERS[name]
    x = torch.randn(*shape, dtype=next(module.parameters()).dtype)
    copied, plan = planned(module, x)
    for other in range(2):
        torch.manual_seed(other)
        randomized(copied)
        path = tmp_path / f"{other}.onnx"
        plan.graph.refresh(FlatModule(copied, "forward", plan.graph.request.sample), {"a": "b"}, path)
        onnx.checker.check_model(str(path), full_check=True)
        if name in WITHOUT_NORM:
            assert "BatchNormalization" not in {n.op_type for n in onnx.load(path).graph.node}
        got = onnxruntime.InferenceSession(path).run(
            None, {"input": x.numpy()} if name != "shared" else {"x": x.numpy()}
        )
        want = copied(x)
        for g, w in zip(got, want if isinstance(want, tuple) else [want], strict=True):
            np.testing.assert_allclose(g, w.detach().numpy(), rtol=1e-4, atol=1e-4)
