"""TODO."""

from __future__ import annotations

import torch


def forget_values(program: torch.export.ExportedProgram) -> None:
    """Rules that run later compute no real values, and would miss them."""
    for node in program.graph.nodes:
        for value in torch.utils._pytree.tree_leaves(node.meta.get("val")):
            mode = getattr(value, "fake_mode", None)
            if mode is not None:
                mode.propagate_real_tensors = False
                return
