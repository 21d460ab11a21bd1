"""Linear algebra that ONNX has no operators for, on small matrices of a fixed size: elimination, step by step.

Only what depends on the inputs is written like this; what depends only on weights is computed for each file, see
``lightning_onnx.tracing.captures.precomputed``. The formulas are those of Golub and Van Loan, *Matrix Computations*,
chapters 3 and 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_onnx.tracing.rules.base import Call, Rule, aten, value

LARGEST = 32
"""Rows of a matrix that is written out: each is about ten operators of the file."""


def is_small(call: Call, place: int = 0) -> bool:
    """Tell whether an argument of a call consists of small square matrices of a fixed size."""
    rows, columns = value(call.args[place]).shape[-2:]
    return isinstance(columns, int) and columns <= LARGEST and rows == columns


def solve(a: Tensor, b: Tensor, *, left: bool = True) -> Tensor:
    """Return ``x`` with ``a @ x = b`` by Gauss-Jordan elimination with partial pivoting.

    Args:
        a: Matrices of shape ``(..., n, n)``.
        b: Of shape ``(..., n, k)``, or ``(..., n)`` if ``torch.linalg.solve`` would take it for vectors.
        left: False solves ``x @ a = b``.
    """
    if not left:
        return solve(a.mT, b.mT).mT
    vectors = b.dim() == 1 or (b.dim() == a.dim() - 1 and b.shape == a.shape[:-1])
    rows = torch.cat(_same_batch(a, b.unsqueeze(-1) if vectors else b), -1)
    n = a.shape[-1]
    place = torch.arange(n, device=a.device)
    for k in range(n):
        rows, pivot, _ = _pivoted(rows, k, place)
        pivot = pivot / pivot[..., k : k + 1]
        rows = torch.where((place == k).unsqueeze(-1), pivot, rows - rows[..., k : k + 1] * pivot)
    found = rows[..., n:]
    return found.squeeze(-1) if vectors else found


def inverse(a: Tensor) -> Tensor:
    """Return the inverse of matrices of shape ``(..., n, n)``."""
    return solve(a, torch.eye(a.shape[-1], dtype=a.dtype, device=a.device))


def cholesky(a: Tensor, *, upper: bool = False) -> Tensor:
    """Return the Cholesky factor of matrices of shape ``(..., n, n)``, column by column."""
    columns: list[Tensor] = []
    place = torch.arange(a.shape[-1], device=a.device)
    for k in range(a.shape[-1]):
        rest = a[..., k]
        for column in columns:
            rest = rest - column * column[..., k : k + 1]
        columns.append((rest / rest[..., k : k + 1].sqrt()).masked_fill(place < k, 0.0))
    lower = torch.stack(columns, -1)
    return lower.mT if upper else lower


def solve_triangular(a: Tensor, b: Tensor, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Tensor:
    """Return ``x`` with ``a @ x = b``, row by row; the other triangle of ``a`` is not read."""
    if not left:
        return solve_triangular(a.mT, b.mT, upper=not upper, unitriangular=unitriangular).mT
    a, b = _same_batch(a, b)
    n = a.shape[-1]
    found: dict[int, Tensor] = {}
    for k in reversed(range(n)) if upper else range(n):
        row = b[..., k, :]
        for j, known in found.items():
            row = row - a[..., k, j].unsqueeze(-1) * known
        found[k] = row if unitriangular else row / a[..., k, k].unsqueeze(-1)
    return torch.stack([found[k] for k in range(n)], -2)


def slogdet(a: Tensor) -> tuple[Tensor, Tensor]:
    """Return sign and logarithm of the determinant, which itself may be too small or too large for its dtype."""
    rows = a
    place = torch.arange(a.shape[-1], device=a.device)
    sign, log = torch.ones_like(a[..., 0, 0]), torch.zeros_like(a[..., 0, 0])
    for k in range(a.shape[-1]):
        rows, pivot, chosen = _pivoted(rows, k, place)
        value = pivot[..., 0, k]
        sign = sign * torch.where(chosen.squeeze(-1) == k, value.sign(), -value.sign())
        log = log + value.abs().log()
        pivot = pivot / torch.where(value == 0, 1.0, value)[..., None, None]
        rows = torch.where((place == k).unsqueeze(-1), rows, rows - rows[..., k : k + 1] * pivot)
    return sign, log


def cholesky_solve(b: Tensor, factor: Tensor, upper: bool = False) -> Tensor:
    """Solve with a factor, forwards and backwards."""
    lower = factor.mT if upper else factor
    half = solve_triangular(lower, b, upper=False)
    return solve_triangular(lower.mT, half, upper=True)


def cdist(a: Tensor, b: Tensor, p: float = 2.0, compute_mode: int | None = None) -> Tensor:
    """Return distances as torch computes them: above 25 rows by a matrix product, which needs less memory.

    See ``cdist_impl`` in torch's ``Distance.cpp``; ``compute_mode`` 1 is "always", 2 is "never".
    """
    many = any(isinstance(n, int) and n > 25 for n in (a.shape[-2], b.shape[-2]))
    if p == 2 and (compute_mode == 1 or (not compute_mode and many)):
        squares = [t.square().sum(-1, keepdim=True) for t in (a, b)]
        left = torch.cat([a * -2, squares[0], torch.ones_like(squares[0])], -1)
        return (left @ torch.cat([b, torch.ones_like(squares[1]), squares[1]], -1).mT).clamp(min=0).sqrt()
    difference = (a.unsqueeze(-2) - b.unsqueeze(-3)).abs()
    if p == 2:
        return difference.square().sum(-1).sqrt()
    if p == float("inf"):
        return difference.amax(-1)
    return (difference != 0).to(a.dtype).sum(-1) if p == 0 else difference.pow(p).sum(-1).pow(1 / p)


def bilinear(left: Tensor, weight: Tensor, right: Tensor, *dims: Sequence[int]) -> Any:
    """Multiply rows by a matrix for each output, as ``nn.Bilinear`` does; other products of three are left."""
    if tuple(map(tuple, dims[:4])) != ((1, 3), (0,), (1, 2), (2, 3)):
        return NotImplemented
    return torch.einsum("bi,oij,bj->bo", left, weight, right)


def _pivoted(rows: Tensor, k: int, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Bring the row with the largest element of column ``k`` to its place; returns rows, that row, and where it was."""
    chosen = rows[..., k].abs().masked_fill(place < k, -1.0).argmax(-1, keepdim=True)
    pivot = rows.gather(-2, chosen.unsqueeze(-1).expand(*chosen.shape, rows.shape[-1]))
    rows = torch.where((place == chosen).unsqueeze(-1), rows[..., k : k + 1, :], rows)
    return torch.where((place == k).unsqueeze(-1), pivot, rows), pivot, chosen


def _same_batch(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])  # type: ignore[no-untyped-call]
    return a.expand(*batch, *a.shape[-2:]), b.expand(*batch, *b.shape[-2:])


def sparse_addmm(x: Tensor, first: Tensor, second: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """Multiply and add matrices that are dense, although a function for sparse ones was called."""
    return torch.addmm(x, first, second, beta=beta, alpha=alpha)


def sparse_mm(first: Tensor, second: Tensor) -> Tensor:
    """Multiply matrices that are dense, although a function for sparse ones was called."""
    return torch.mm(first, second)


def of_dense(call: Call) -> bool:
    """Tell whether all operands are dense: a capture has put dense tensors in the place of sparse ones."""
    return all(v.layout is torch.strided for a in call.args if isinstance(v := value(a), Tensor))


_NO_TRANSLATION = "The exporter has no translation."

RULES = (
    Rule((aten._sparse_addmm.default,), sparse_addmm, _NO_TRANSLATION, of_dense),
    Rule((aten._sparse_mm.default,), sparse_mm, _NO_TRANSLATION, of_dense),
    Rule((aten.inverse.default, aten.linalg_inv.default), inverse, _NO_TRANSLATION, is_small, of_inputs=True),
    Rule((aten.linalg_solve.default,), solve, _NO_TRANSLATION, is_small, of_inputs=True),
    Rule((aten.linalg_cholesky.default,), cholesky, _NO_TRANSLATION, is_small, of_inputs=True),
    Rule((aten.linalg_solve_triangular.default,), solve_triangular, _NO_TRANSLATION, is_small, of_inputs=True),
    Rule((aten.cholesky_solve.default,), cholesky_solve, _NO_TRANSLATION, lambda n: is_small(n, 1), of_inputs=True),
    Rule((aten.linalg_slogdet.default, aten.slogdet.default), slogdet, _NO_TRANSLATION, is_small, of_inputs=True),
    Rule((aten.cdist.default, aten._cdist_forward.default), cdist, "The exporter takes no p, and no batch of rows."),
    Rule((aten._trilinear.default,), bilinear, _NO_TRANSLATION),
)
