"""Layers with weights, norms, and functions of one element."""

from __future__ import annotations

from tests.property.steps.base import FLOATS, IMAGE, ROWS, SERIES, VECTORS, Step

LAYERS = [
    Step(VECTORS, "x = self.linear{n}(x)", "self.linear{n} = nn.Linear(6, 6, bias={flag})"),
    Step(
        VECTORS,
        "x = x + self.out{n}(F.gelu(self.in{n}(x)))",
        "self.in{n}, self.out{n} = nn.Linear(6, 9), nn.Linear(9, 6)",
    ),
    Step(VECTORS, "x = self.norm{n}(x)", "self.norm{n} = nn.LayerNorm(6)"),
    Step(VECTORS, "x = self.norm{n}(x)", "self.norm{n} = nn.RMSNorm(6)"),
    Step(ROWS, "x = self.norm{n}(x)", "self.norm{n} = nn.BatchNorm1d(6)"),
    Step(ROWS, "x = self.norm{n}(x)", "self.norm{n} = nn.GroupNorm({small} // 2 + 1, 6)"),
    Step(SERIES, "x = self.norm{n}(x.transpose(1, 2)).transpose(1, 2)", "self.norm{n} = nn.BatchNorm1d(6)"),
    Step(IMAGE, "x = self.norm{n}(x)", "self.norm{n} = nn.InstanceNorm2d(4, affine={flag})"),
    Step(IMAGE, "x = self.norm{n}(x)", "self.norm{n} = nn.BatchNorm2d(4)"),
    Step(IMAGE, "x = self.norm{n}(x)", "self.norm{n} = nn.GroupNorm(2, 4)"),
    Step(IMAGE, "x = self.conv{n}(x)", "self.conv{n} = nn.Conv2d(4, 4, 3, padding=1)"),
    Step(IMAGE, "x = self.conv{n}(x)", "self.conv{n} = nn.Conv2d(4, 4, 3, padding=1, stride=2)"),
    Step(IMAGE, "x = self.conv{n}(x)", "self.conv{n} = nn.ConvTranspose2d(4, 4, 2, stride=2)"),
    Step(
        SERIES,
        "x = self.conv{n}(x.transpose(1, 2)).transpose(1, 2)",
        "self.conv{n} = nn.Conv1d(6, 6, 3, padding='same')",
    ),
    Step(SERIES, "x = F.silu(x) * self.gate{n}(x).sigmoid()", "self.gate{n} = nn.Linear(6, 6)"),
    Step(FLOATS, "x = F.logsigmoid(x)"),
    Step(FLOATS, "x = F.hardswish(x) + F.elu(x)"),
    Step(FLOATS, "x = torch.special.erf(x) + torch.atan2(x, x + 1)"),
    Step(VECTORS, "x = x.log_softmax(-1)"),
    Step(VECTORS, "x = self.bilinear{n}(x, x.tanh())", "self.bilinear{n} = nn.Bilinear(6, 6, 6)"),
]
