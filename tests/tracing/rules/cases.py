"""For each rule, a function whose file is wrong, or cannot be made, without the rule."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from lightning_onnx.tracing.rules.base import Rule


@dataclasses.dataclass(frozen=True)
class Case:
    """A call of an operator that needs its rule.

    Attributes:
        function: Calls the operator; returns a tensor of real numbers, integers or booleans.
        inputs: Tensors of sizes that are not traced.
        traced: The tensors of the traced call; by default the first three rows of the inputs.
    """

    function: Callable[..., Tensor]
    inputs: tuple[Tensor, ...]
    traced: tuple[Tensor, ...] = ()

    def traced_inputs(self) -> tuple[Tensor, ...]:
        """Return the tensors to trace with."""
        return self.traced or tuple(t[:3].clone() for t in self.inputs)


def name_of(rule: Rule) -> str:
    """Return the name of a rule's case: its topic and its first operator."""
    return f"{rule.replacement.__module__.rpartition('.')[2]} {rule.operators[0].name().removeprefix('aten::')}"


_seeded = torch.Generator().manual_seed(0)

X = torch.randn(9, 5, generator=_seeded)
DOUBLE = torch.rand(9, 5, generator=_seeded, dtype=torch.float64) + 0.1
MATRICES = torch.randn(9, 4, 4, generator=_seeded)
IMAGES = torch.randn(2, 2, 14, 7, generator=_seeded), torch.randn(3, 2, 9, 12, generator=_seeded)
"""Images of a size that is not traced, and of the traced one."""


def numbers(*values: float, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Return a column of certain values, after three ordinary ones that are traced."""
    return (torch.tensor([0.5, 0.25, 0.75, *values], dtype=dtype).unsqueeze(1),)


def pairs(*values: tuple[float, float]) -> tuple[Tensor, ...]:
    """Return two columns of certain pairs of values, after three ordinary ones that are traced."""
    return tuple(torch.tensor([0.5, 0.25, 0.75, *column]).unsqueeze(1) for column in zip(*values, strict=True))


def short(x: Tensor) -> Tensor:
    """Return integers of 16 bits of the same shape."""
    return (x * 999).to(torch.int16)


def bytes_of(x: Tensor) -> Tensor:
    """Return bytes of the same shape, some of them zero."""
    return (x.abs() * 99).long().to(torch.uint8)


def place(x: Tensor) -> Tensor:
    """Return an index below 4 for each row, of shape (rows, 1)."""
    return (x[:, :1].abs() * 7).long() % 4


def days(x: Tensor) -> Tensor:
    """Return the last second of some days since 1970, or before."""
    return (place(x) * 86400 + 1_600_041_599) * (place(x) % 2 * 2 - 1)


def positive(x: Tensor) -> Tensor:
    """Return positive definite matrices."""
    return x @ x.mT + torch.eye(x.shape[-1])


def split(z: Tensor) -> Tensor:
    """Return real and imaginary part in a last dim: files have no complex outputs."""
    return torch.view_as_real(z)


def complex_(x: Tensor) -> Tensor:
    """Return complex numbers made of real ones."""
    return torch.complex(x, x + 1)


_scaled = functional.scaled_dot_product_attention


def masked_columns(x: Tensor) -> Tensor:
    """Write into the columns that a mask selects: a number, a row for all, and a value for each place."""
    mask = x.mean(0) > 0
    written = x.clone()
    written[:, mask] = 3.0
    pairs = torch.stack([written, x], 1)
    pairs[:, :, ~mask] = x[:, None, ~mask] * 2
    pairs[:, torch.stack([mask, ~mask])] += torch.arange(5.0)
    return pairs


def resized(x: Tensor, mode: str, parity: int) -> Tensor:
    """Resize an image of integers whose rows are equal and whose neighboring pixels differ by even numbers + parity.

    With 1 no average of two lies in the middle between two integers, where programs round to either.
    """
    even = (x[:, :, :1, :1] * 8).round() * 2 + 100
    pixels = (even + parity * (torch.arange(x.shape[3]) % 2)).expand_as(x).to(torch.uint8)
    return functional.interpolate(pixels, scale_factor=2.0, mode=mode).float()


_nan, _inf = float("nan"), float("inf")

CASES: dict[str, Case] = {
    "attention scaled_dot_product_attention": Case(lambda x: _scaled(x[..., None], x[..., None], x[..., None]), (X,)),
    "bfloat16 add.Tensor": Case(
        lambda x: torch.cat([x.bfloat16() + x.T[0, 0].bfloat16(), x.bfloat16() + 0.1]).float(), (X,)
    ),
    "bfloat16 sub.Tensor": Case(lambda x: (x.bfloat16() - place(x)).float(), (X,)),
    "bfloat16 mul.Tensor": Case(lambda x: (x.bfloat16() * (999 * place(x) + 7) * 0.1).float(), (X,)),
    "bfloat16 div.Tensor": Case(lambda x: (x.bfloat16() / (x * 7).bfloat16()).float(), (X,)),
    "booleans_integers add.Tensor": Case(lambda x: ((x > 0) + (x > 1)).float(), (X,)),
    "booleans_integers mul.Tensor": Case(lambda x: ((x > 0) * (x < 1)).float(), (X,)),
    "booleans_integers rsub.Scalar": Case(lambda x: 1.5 - place(x), (X,)),
    "booleans_integers where.self": Case(lambda x: torch.where(x > 0, x > 1, x < -1).float(), (X,)),
    "booleans_integers masked_fill.Scalar": Case(lambda x: (x > 0).masked_fill(x > 1, False).float(), (X,)),
    "booleans_integers index.Tensor": Case(lambda x: torch.arange(4.0)[place(x).int()], (X,)),
    "booleans_integers __rshift__.Scalar": Case(
        lambda x: (
            ((place(x) * 70).to(torch.uint8) >> 2) & ((place(x) * 70).to(torch.uint8) >> place(x).to(torch.uint8))
        ),
        (X,),
    ),
    "booleans_integers __lshift__.Scalar": Case(
        lambda x: (
            ((place(x) * 70).to(torch.uint8) << 2) | ((place(x) * 70).to(torch.uint8) << place(x).to(torch.uint8))
        ),
        (X,),
    ),
    "booleans_integers __lshift__.Tensor": Case(lambda x: place(x) << place(x), (X,)),
    "booleans_integers __rshift__.Tensor": Case(lambda x: (place(x) - 2) * 99 >> place(x), (X,)),
    "booleans_integers sort": Case(lambda x: torch.cat([part.long() for part in (x > 0).sort(1)]), (X,)),
    "booleans_integers neg": Case(lambda x: (-bytes_of(x)).long(), (X,)),
    "booleans_integers any": Case(lambda x: (bytes_of(x) // 99).any(1), (X,)),
    "booleans_integers all": Case(lambda x: (bytes_of(x) // 20).all(1), (X,)),
    "booleans_integers div.Tensor_mode": Case(
        lambda x: torch.stack([torch.div(days(x), 86400, rounding_mode=mode) for mode in ("floor", "trunc")]) % 100,
        (X,),
    ),
    "booleans_integers softmax.int": Case(lambda x: (x * 3).long().softmax(-1, dtype=torch.float32), (X,)),
    "booleans_integers mean": Case(lambda x: (x * 3).long().mean(1, dtype=torch.float32), (X,)),
    "clamp clamp": Case(lambda x: torch.clamp(x, 0, 0.5) + torch.clamp(x, None, 0.5), numbers(_inf, -_inf)),
    "clamp clamp_min": Case(lambda x: torch.clamp_min(x, 0), numbers(_inf, -_inf)),
    "clamp clamp_max": Case(lambda x: torch.clamp_max(x, 0), numbers(_inf, -_inf)),
    "double add.Tensor": Case(lambda x: x + 0.1, (DOUBLE,)),
    "double sub.Tensor": Case(lambda x: x - 0.1, (DOUBLE,)),
    "double mul.Tensor": Case(lambda x: x * 0.1, (DOUBLE,)),
    "double div.Tensor": Case(lambda x: x / 0.3, (DOUBLE,)),
    "double pow.Tensor_Scalar": Case(lambda x: x**1.1, (DOUBLE,)),
    "double gt.Scalar": Case(lambda x: x * 0 + 0.7 > 0.7, (DOUBLE,)),
    "double ge.Scalar": Case(lambda x: x * 0 + 0.1 >= 0.1, (DOUBLE,)),
    "double lt.Scalar": Case(lambda x: x * 0 + 0.1 < 0.1, (DOUBLE,)),
    "double le.Scalar": Case(lambda x: x * 0 + 0.7 <= 0.7, (DOUBLE,)),
    "double rsub.Scalar": Case(lambda x: 0.1 - x, (DOUBLE,)),
    "double lerp.Scalar": Case(lambda x: torch.lerp(x, -x, 0.3) + torch.lerp(x, -x, 0.8), (DOUBLE,)),
    "double log2": Case(lambda x: x.log2(), (DOUBLE,)),
    "double log10": Case(lambda x: x.log10(), (DOUBLE,)),
    "double deg2rad": Case(lambda x: x.deg2rad(), (DOUBLE,)),
    "double rad2deg": Case(lambda x: x.rad2deg(), (DOUBLE,)),
    "elementwise log1p": Case(torch.log1p, numbers(1e-8)),
    "elementwise expm1": Case(torch.expm1, numbers(1e-8)),
    "elementwise log_sigmoid": Case(functional.logsigmoid, numbers(-30, -200)),
    "elementwise logaddexp": Case(torch.logaddexp, pairs((100, 100), (_inf, 1))),
    "elementwise logaddexp2": Case(torch.logaddexp2, pairs((200, 200), (_inf, 1))),
    "elementwise atan2": Case(torch.atan2, pairs((0.0, -1.0), (-0.0, -1.0), (2.0, -1.0))),
    "elementwise signbit": Case(torch.signbit, numbers(-0.0, 0.0, -1.0)),
    "elementwise hypot": Case(torch.hypot, pairs((3e30, 4e30), (0.0, 0.0))),
    "elementwise copysign.Tensor": Case(torch.copysign, pairs((2.0, -0.0), (-3.0, 1.0))),
    "elementwise fmax": Case(torch.fmax, pairs((_nan, 1.0), (2.0, _nan))),
    "elementwise fmin": Case(torch.fmin, pairs((_nan, 1.0), (2.0, _nan))),
    "elementwise remainder.Scalar": Case(lambda x: x % 7, numbers(1e10, -1e10, -3)),
    "elementwise floor_divide": Case(torch.floor_divide, pairs((7.0, 0.1), (-7.0, 2.0))),
    "elementwise div.Tensor_mode": Case(
        lambda x, y: torch.div(x, y, rounding_mode="floor"), pairs((7.0, 0.1), (-7.0, 2.0))
    ),
    "elementwise xlogy.Tensor": Case(torch.xlogy, pairs((0.0, _nan), (0.0, 0.0), (2.0, 3.0))),
    "elementwise special_xlog1py": Case(torch.special.xlog1py, pairs((0.0, _nan), (2.0, 1e-8))),
    "elementwise zeros_like": Case(lambda x: split(torch.zeros_like(complex_(x)) + complex_(x)), (X,)),
    "elementwise unsqueeze": Case(lambda x: split(complex_(x).unsqueeze(1)), (X,)),
    "elementwise expand": Case(lambda x: split(complex_(x)[:, None].expand(-1, 2, -1)), (X,)),
    "elementwise alias": Case(lambda x: split(torch.ops.aten.alias(complex_(x))), (X,)),
    "elementwise index_select": Case(lambda x: split(complex_(x).index_select(1, torch.tensor([2, 0]))), (X,)),
    "elementwise constant_pad_nd": Case(lambda x: split(torch.constant_pad_nd(complex_(x), (1, 2))), (X,)),
    "fourier fft_fftshift": Case(torch.fft.fftshift, (X,), (X[:6].clone(),)),
    "fourier fft_ifftshift": Case(lambda x: torch.fft.ifftshift(x, 0), (X,), (X[:6].clone(),)),
    "frequencies fft_fftfreq": Case(lambda x: x * torch.fft.fftfreq(5, 0.1), (X,)),
    "frequencies fft_rfftfreq": Case(lambda x: x[:, :3] * torch.fft.rfftfreq(5, 0.1), (X,)),
    "indexing roll": Case(lambda x: x.roll(x.shape[0] // 2, 0), (X,), (X[:6].clone(),)),
    "indexing squeeze.dim": Case(lambda x: x[:, :2].squeeze(-1) + 1, (X,)),
    "indexing im2col": Case(lambda x: functional.unfold(x, 3, dilation=2, padding=1, stride=2), IMAGES[:1], IMAGES[1:]),
    "indexing scatter_reduce.two": Case(
        lambda x: torch.zeros(4, 5).scatter_reduce(0, place(x).expand(-1, 5), x, "mean"), (X,)
    ),
    "indexing index_reduce": Case(lambda x: torch.zeros(4, 5).index_reduce(0, place(x)[:, 0], x, "amax"), (X,)),
    "indexing index_put": Case(lambda x: masked_columns(x), (X,)),
    "linalg inverse": Case(torch.inverse, (MATRICES,)),
    "linalg linalg_solve": Case(lambda x: torch.linalg.solve(x, x[..., 0]), (MATRICES,)),
    "linalg linalg_cholesky": Case(lambda x: torch.linalg.cholesky(positive(x)), (MATRICES,)),
    "linalg linalg_solve_triangular": Case(
        lambda x: torch.linalg.solve_triangular(positive(x).tril(), x, upper=False), (MATRICES,)
    ),
    "linalg cholesky_solve": Case(lambda x: torch.cholesky_solve(x, positive(x).tril()), (MATRICES,)),
    "linalg linalg_slogdet": Case(lambda x: torch.stack(list(torch.linalg.slogdet(x))), (MATRICES,)),
    "linalg cdist": Case(lambda x: torch.cdist(x, x.flip(1), p=1.0), (MATRICES,)),
    "linalg _sparse_addmm": Case(lambda x: torch.sparse.addmm(x[:, :2], x, torch.ones(5, 2).triu()), (X,)),
    # torch.export makes the sizes of a sparse product constant: the case has constant ones, beside a free dim
    "linalg _sparse_mm": Case(lambda x: torch.sparse.mm(torch.ones(4, 2).triu(), x[:2]), (X,)),
    "linalg _trilinear": Case(
        lambda x: torch._trilinear(x, torch.ones(2, 5, 5).tril(), x.exp(), [1, 3], [0], [1, 2], [2, 3]), (X,)
    ),
    "losses binary_cross_entropy_with_logits": Case(
        lambda x, y: functional.binary_cross_entropy_with_logits(x, y, reduction="none"), pairs((-200, 1), (30, 0))
    ),
    "losses cross_entropy_loss": Case(
        lambda x: functional.cross_entropy(x, place(x)[:, 0], label_smoothing=0.1, reduction="none"), (X,)
    ),
    "pooling adaptive_avg_pool1d": Case(lambda x: functional.adaptive_avg_pool2d(x, 3), IMAGES[:1], IMAGES[1:]),
    "pooling adaptive_max_pool1d": Case(lambda x: functional.adaptive_max_pool2d(x, 3), IMAGES[:1], IMAGES[1:]),
    "random_numbers uniform": Case(lambda x: torch.empty_like(x).uniform_(2.0, 2.0) * x, (X,)),
    "random_numbers randperm": Case(lambda x: torch.randperm(x.shape[0]).sort().values[:, None] * x, (X,)),
    "resizing upsample_nearest1d.vec": Case(lambda x: functional.interpolate(x, size=4), IMAGES[:1], IMAGES[1:]),
    "resizing upsample_bilinear2d.vec": Case(lambda x: resized(x, "bilinear", 1), IMAGES[:1], IMAGES[1:]),
    "resizing upsample_bicubic2d.vec": Case(lambda x: resized(x, "bicubic", 0), IMAGES[:1], IMAGES[1:]),
    "resizing _upsample_nearest_exact1d.vec": Case(
        lambda x: functional.interpolate(x, scale_factor=1.3, mode="nearest-exact"), IMAGES[:1], IMAGES[1:]
    ),
    "short_integers max.dim": Case(lambda x: torch.cat([part.long() for part in short(x).max(1)]), (X,)),
    "short_integers min.dim": Case(lambda x: torch.cat([part.long() for part in short(x).min(1)]), (X,)),
    "short_integers max": Case(lambda x: short(x).max(), (X,)),
    "short_integers min": Case(lambda x: short(x).min(), (X,)),
    "short_integers amax": Case(lambda x: short(x).amax(1), (X,)),
    "short_integers amin": Case(lambda x: short(x).amin(1), (X,)),
    "short_integers argmax": Case(lambda x: short(x).argmax(1), (X,)),
    "short_integers argmin": Case(lambda x: short(x).argmin(1), (X,)),
    "short_integers maximum": Case(lambda x: torch.maximum(short(x), short(-x)), (X,)),
    "short_integers minimum": Case(lambda x: torch.minimum(short(x), short(-x)), (X,)),
    "short_integers clamp": Case(lambda x: short(x).clamp(-500, 700), (X,)),
    "short_integers clamp.Tensor": Case(lambda x: short(x).clamp(min=short(-x)), (X,)),
    "short_integers clamp_min": Case(lambda x: torch.clamp_min(short(x), 100), (X,)),
    "short_integers clamp_max": Case(lambda x: torch.clamp_max(short(x), 100), (X,)),
    "short_integers where.self": Case(lambda x: torch.where(x > 0, short(x), short(-x)), (X,)),
    "short_integers where.ScalarOther": Case(lambda x: torch.where(x > 0, short(x), 7), (X,)),
    "short_integers masked_fill.Scalar": Case(lambda x: short(x).masked_fill(x > 1, 7), (X,)),
    "short_integers constant_pad_nd": Case(lambda x: torch.constant_pad_nd(short(x), (1, 2), 5), (X,)),
    "short_integers pad": Case(lambda x: functional.pad(short(x), (1, 2), value=5), (X,)),
    "short_integers pow.Tensor_Scalar": Case(lambda x: torch.cat([bytes_of(x) ** 3, short(x) ** 3]), (X,)),
    "short_integers tril": Case(lambda x: bytes_of(x).tril(1), (X,)),
    "short_integers triu": Case(lambda x: bytes_of(x).to(torch.int16).triu(-1), (X,)),
    "short_integers matmul": Case(lambda x: bytes_of(x) @ bytes_of(x).mT, (X,)),
    "short_integers einsum": Case(lambda x: torch.einsum("bi,bj->bij", short(x), short(x)), (X,)),
    "sigmoid sigmoid": Case(lambda x: (x.sigmoid() + 1e-12).log(), numbers(-19.0, -25.0, 20.0)),
    "sorting kthvalue": Case(lambda x: x.kthvalue(3, 1).values, (X,)),
    "sorting sort.stable": Case(lambda x: torch.sort(x.round(), dim=-1, stable=True).indices, (X,)),
    "sorting argsort.stable": Case(lambda x: torch.argsort(x.round(), dim=-1, stable=True), (X,)),
    "sorting searchsorted.Tensor": Case(lambda x: torch.searchsorted(x.sort(1).values, x), (X,)),
    "sorting median.dim": Case(lambda x: x.median(1).values, (X,)),
    "sorting median": Case(lambda x: x.median(), (X,)),
    "sorting amax": Case(lambda x: x / x.amax(), (X,)),
    "sorting nanmedian.dim": Case(lambda x: torch.where(x > 0, _nan, x).nanmedian(1).values, (X,)),
    "sorting mode": Case(lambda x: torch.cat([part.float() for part in (x * 2).round().mode(1)]), (X,)),
    "sorting cumprod": Case(lambda x: torch.cat([x.cumprod(1), ((x * 5).long().cumprod(1) % 1000).float()], 1), (X,)),
    "sorting cummax": Case(lambda x: x.cummax(1).values, (X,)),
    "sorting cummin": Case(lambda x: x.cummin(1).values, (X,)),
    "sorting logcumsumexp": Case(lambda x: (x * 99).logcumsumexp(1), (X,)),
    "special lgamma": Case(torch.lgamma, numbers(-0.5, 7.0, 0.0)),
    "special digamma": Case(torch.digamma, numbers(-0.5, 7.0)),
    "special erfinv": Case(torch.erfinv, numbers(-0.999, 0.0)),
    "special erfc": Case(torch.erfc, numbers(5.0, -5.0)),
    "special special_erfcx": Case(torch.special.erfcx, numbers(20.0, -1.0)),
    "special erf": Case(torch.erf, (DOUBLE,)),
    "special special_ndtr": Case(torch.special.ndtr, (DOUBLE,)),
    "special gelu": Case(functional.gelu, (DOUBLE,)),
    "special special_log_ndtr": Case(torch.special.log_ndtr, numbers(-10.0, -1e5, 3.0)),
}
"""By the name of the rule."""
