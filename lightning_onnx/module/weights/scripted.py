"""TorchScript submodules of a Python module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class Scripted(nn.Module):
    """Hides a ``ScriptModule`` from ``torch.export``, which refuses its parameters, and keeps its names in state dicts.

    The graph contains its weights as constants, so other weights need a new trace.

    Args:
        script: The scripted or traced submodule of a private copy.
    """

    __module__ = "lightning_onnx.scripted"  # this name is written to ONNX files, so it stays when this file moves

    def __init__(self, script: torch.jit.ScriptModule) -> None:
        super().__init__()
        self.__dict__["script"] = script

    def forward(self, *args: object, **kwargs: object) -> Any:
        """Call the scripted submodule."""
        return self.__dict__["script"](*args, **kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["script"], name)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        self.__dict__["script"].state_dict(destination=destination, prefix=prefix, keep_vars=keep_vars)

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, missing_keys: Any = None, **kwargs: Any
    ) -> None:
        missing = args[2] if len(args) > 2 else missing_keys
        for name, tensor in self.__dict__["script"].state_dict(keep_vars=True).items():
            if prefix + name in state_dict:
                with torch.no_grad():
                    tensor.copy_(state_dict[prefix + name])
            elif missing is not None:
                missing.append(prefix + name)


def hide_scripts(module: nn.Module) -> None:
    """Wrap the TorchScript submodules of a private copy."""
    for part in list(module.modules()):
        if isinstance(part, torch.jit.ScriptModule):
            continue
        for name, child in part._modules.items():
            if isinstance(child, torch.jit.ScriptModule):
                part._modules[name] = Scripted(child)


def has_scripts(module: nn.Module) -> bool:
    """Tell whether a private copy has TorchScript submodules, whose weights cannot be updated in a graph."""
    return any(isinstance(part, Scripted) for part in module.modules())
