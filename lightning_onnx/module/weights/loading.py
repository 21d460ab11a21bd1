"""Loads the weights of checkpoints, averages and adapters into a private copy."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_onnx.errors import WeightsError, first_line
from lightning_onnx.module.weights.state import is_sharded, persistent

_OF_A_RUN = 'Export the live weights (weights="live") or follow a ModelCheckpoint of this module (checkpoint=...).'


def empty(module: nn.Module) -> dict[str, Tensor] | None:
    """Return parameters and buffers as meta tensors, for a checkpoint to fill: weights are then in memory only once.

    Returns None if ``load_state_dict(assign=True)`` may not fill all of them.
    """
    held = persistent(module)
    own = any(isinstance(p, torch.jit.ScriptModule) or _loads_its_own_way(p) for p in module.modules())
    if (own or not getattr(module, "strict_loading", True)) and not is_sharded(module):
        return None
    half = (torch.bfloat16, torch.float16)
    return {
        n: torch.empty(t.shape, dtype=torch.float32 if t.dtype in half else t.dtype, device="meta")
        for n, t in held.items()
    }


def _loads_its_own_way(part: nn.Module) -> bool:
    """Tell whether a submodule overrides torch's loading code, which always supports ``assign``."""
    names = ("load_state_dict", "_load_from_state_dict", "set_extra_state")
    return any(not getattr(type(part), name).__module__.startswith("torch.nn.") for name in names)


def load(module: nn.Module, state_dict: Mapping[str, Tensor], strict: bool = True, advice: str = _OF_A_RUN) -> None:
    """Put a checkpoint's ``state_dict`` into a private copy.

    Args:
        module: The private copy.
        state_dict: The weights by name.
        strict: Whether all names must fit.
        advice: What to do if they do not.

    Raises:
        WeightsError: If names or shapes do not fit.
    """
    plain = {name.replace("_orig_mod.", ""): tensor for name, tensor in state_dict.items() if not is_lazy(tensor)}
    try:
        if any(t.is_meta for t in module.parameters()):  # tensors are replaced, instead of copying values into them
            half = (torch.bfloat16, torch.float16)
            plain = {n: t.float() if isinstance(t, Tensor) and t.dtype in half else t for n, t in plain.items()}
            module.load_state_dict(plain, strict=strict, assign=True)
            module.requires_grad_(False)
        else:
            module.load_state_dict(plain, strict=strict)
    except RuntimeError as error:
        raise WeightsError(
            f"the checkpoint's weights do not fit {type(module).__name__}: "
            f"{' '.join(str(error).split())[:1000].rstrip('. ')}. {advice}"
        ) from error


def load_checkpoint(
    module: nn.Module,
    content: dict[str, Any],
    averages: Mapping[str, Tensor] | None = None,
    averaged: bool = False,
    advice: str = _OF_A_RUN,
) -> list[str]:
    """Load a checkpoint's content into a private copy like ``load_from_checkpoint``, including the module's own hook.

    Args:
        module: The private copy.
        content: The result of ``OpenCheckpoint.read``.
        averages: The result of ``averages`` when the checkpoint was saved; None if it was not called then.
        averaged: Whether the run averages weights.
        advice: What to do if the weights do not fit.

    Returns:
        Notes for the user.

    Raises:
        WeightsError: If the hook fails, or names or shapes do not fit.
    """
    notes = []
    if averaged and averages is None and "averaging_state" not in content:
        notes.append(
            "it contains only the raw weights, not the averages, so the raw ones are exported; save full checkpoints "
            '(save_weights_only=False), or export when they are saved (when="checkpoint")'
        )
    if averages is not None and "averaging_state" not in content:
        content = {**content, "state_dict": {**content["state_dict"], **averages}}
        notes.append("it contains only the raw weights; the averages were taken from the averaging callback")
    if overrides(type(module), "on_load_checkpoint"):
        try:
            module.on_load_checkpoint(content)  # type: ignore[operator]
        except Exception as error:
            raise WeightsError(
                f"{type(module).__name__}.on_load_checkpoint fails on the checkpoint to export: {first_line(error)}. "
                f"Make it work on a copy of the module on the CPU. {advice}"
            ) from error
    load(module, content["state_dict"], strict=getattr(module, "strict_loading", True), advice=advice)
    return notes


def overrides(kind: type, hook: str) -> bool:
    """Tell whether a class overrides a hook of Lightning, from either of its two packages."""
    own = getattr(kind, hook, None)
    return own is not None and not own.__module__.startswith(("lightning.", "pytorch_lightning."))


def averaging(trainer: Any) -> Any:
    """Return the Trainer's callback that averages weights: a ``WeightAveraging`` from either of the two packages."""
    return next((c for c in trainer.callbacks if any(k.__name__ == "WeightAveraging" for k in type(c).__mro__)), None)


def averages(trainer: Any, module: nn.Module) -> dict[str, Tensor] | None:
    """Return a copy of the averaged weights, as a full checkpoint would contain them now; None without averaging.

    A weights-only checkpoint is saved without calling the averaging callback, and contains the raw weights.
    """
    callback = averaging(trainer)
    if callback is None:
        return None
    content: dict[str, Any] = {"state_dict": module.state_dict()}
    callback.on_save_checkpoint(trainer, module, content)
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in content["state_dict"].items()}


def merge_adapters(module: nn.Module) -> None:
    """Merge peft's adapters (LoRA and others) into the weights of a private copy, so that they are not in the graph.

    The weights keep their names (``base_layer``). A layer that cannot merge is exported with its adapter.
    """
    part: Any
    for part in module.modules():
        if isinstance(getattr(part, "merged", None), bool) and hasattr(part, "active_adapters"):
            with contextlib.suppress(NotImplementedError, ValueError), torch.no_grad():
                part.merge()
