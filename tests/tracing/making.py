"""Modules and requests, in the form that engines take."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx.module.calls.matching import sample_of
from lightning_onnx.module.calls.request import Request
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.tracing.patches.decompositions import decompose
from lightning_onnx.tracing.patches.patch import put_in
from lightning_onnx.tracing.patches.table import PATCHES
from lightning_onnx.tracing.rules.base import Rule

_RULES = "rules_are_applied"
_FASTER = (
    "translations_are_parsed_once",
    "signatures_are_read_once",
    "operators_are_listed_once",
    "devices_are_counted_once",
    "kernels_are_only_stored",
)
"""Patches that change nothing but the time of an export."""


def made(
    module: nn.Module,
    *tensors: Tensor,
    axes: tuple[Mapping[int, str], ...] | None = None,
    output_names: tuple[str, ...] = ("y",),
) -> tuple[FlatModule, Request]:
    """Wrap a module, and ask for a graph of its ``forward``: inputs x0, x1 ...; dim 0 of each is "batch" by default."""
    sample = sample_of(module, "forward", (tensors, {}))
    names = tuple(f"x{i}" for i in range(len(tensors)))
    axes = tuple({0: "batch"} for _ in tensors) if axes is None else axes
    request = Request(sample, tensors, names, output_names, axes, seen={}, samples=(sample,))
    return FlatModule(module.eval(), "forward", sample), request


def as_torch_writes(
    model: nn.Module | torch.export.ExportedProgram, *args: Tensor, rules: tuple[Rule, ...] = (), **options: Any
) -> torch.onnx.ONNXProgram:
    """Export with torch's exporter and rules only, without its optimizer; what it repeats in vain is done once."""
    applied = functools.partial(decompose, rules=rules)
    patches = [p for p in PATCHES if p.case in _FASTER]
    patches += [dataclasses.replace(p, replacement=applied) for p in PATCHES if p.case == _RULES]
    with put_in(*patches):
        program = torch.onnx.export(model, args, dynamo=True, optimize=False, verbose=False, **options)
    assert program is not None
    return program
