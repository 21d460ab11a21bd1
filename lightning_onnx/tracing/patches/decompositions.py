"""Decomposes programs as torch's exporter does, with our rules in the same run."""

from __future__ import annotations

from torch.export import ExportedProgram
from torch.onnx._internal.exporter import _decomp
from torch.onnx._internal.exporter._registration import ONNXRegistry

from lightning_onnx.tracing.rules import as_captured, table
from lightning_onnx.tracing.rules.base import Rule


def decompose(
    exported_program: ExportedProgram, registry: ONNXRegistry, rules: tuple[Rule, ...] = table.RULES
) -> ExportedProgram:
    """Return the program that the exporter translates.

    Args:
        exported_program: A captured program.
        registry: The operators that have translations.
        rules: The rules.
    """
    translated = set(_decomp.get_onnx_implemented_overloads(registry))
    if as_captured.needs_no_run(exported_program, translated, rules):
        return as_captured.copy_of(exported_program)
    decompositions = _decomp.create_onnx_friendly_decomposition_table(translated)
    return table.decomposed(exported_program, decompositions, rules)
