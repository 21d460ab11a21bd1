"""Removes from a private copy the wrappers of ``torch.compile`` and FSDP, and the effects of logging methods."""

from __future__ import annotations

import functools

import torch
from torch import nn

from lightning_onnx.module.calls.observer import is_compiled

_SILENCED = ("log", "log_dict", "print")
"""Methods of a LightningModule that only make sense inside the Trainer's loops."""


def silence(copied: nn.Module) -> None:
    """Make logging do nothing in a private copy: it would affect the run."""
    for part in copied.modules():
        if "_trainer" in part.__dict__:
            part.__dict__.update(dict.fromkeys(_SILENCED, _nothing))


def unsilence(copied: nn.Module) -> None:
    """Let a private copy log again, for a Trainer of its own."""
    for part in copied.modules():
        if "_trainer" in part.__dict__:
            for name in _SILENCED:
                part.__dict__.pop(name, None)
            # The ids of the original's metrics; without them, Lightning searches for the metrics again.
            part.__dict__.update(_trainer=None, _metric_attributes=None)


def _nothing(*args: object, **kwargs: object) -> None:
    return None


def uncompile(copied: nn.Module) -> None:
    """Remove the wrappers of ``torch.compile``."""
    for part in list(copied.modules()):
        if isinstance(part, torch.jit.ScriptModule):
            continue
        for name, child in part._modules.items():
            if child is not None and hasattr(child, "_orig_mod"):
                part._modules[name] = child._orig_mod  # type: ignore[assignment]
        if is_compiled(part):
            part._compiled_call_impl = None
            context = part.__dict__.pop("_compiler_ctx", None)
            for step in ("forward", "training_step", "validation_step", "test_step", "predict_step") if context else ():
                part.__dict__.pop(step, None)


def unshard(copied: nn.Module) -> None:
    """Replace the class that FSDP2's ``fully_shard`` made for a module by the module's own class."""
    for part in copied.modules():
        if is_sharding(type(part)):
            part.__class__ = next(c for c in type(part).__mro__[1:] if not is_sharding(c))


def is_sharding(cls: type) -> bool:
    """Tell whether a class was made by ``fully_shard``, or is the base of such classes."""
    return cls.__module__.startswith("torch.distributed.fsdp") or any(
        base.__module__.startswith("torch.distributed.fsdp") for base in cls.__bases__
    )


def is_sharding_hook(hook: object) -> bool:
    """Tell whether ``fully_shard`` registered a hook."""
    while isinstance(hook, functools.partial):
        hook = hook.func
    hook = getattr(hook, "__wrapped__", hook)
    return str(getattr(hook, "__module__", "")).startswith("torch.distributed.fsdp")


def is_sharding_state(name: str) -> bool:
    """Tell whether an attribute of a module holds the state of ``fully_shard`` or similar wrappers."""
    return name.startswith("__composable_api_state_key")
