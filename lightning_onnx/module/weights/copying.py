"""The private copy of the module, on the CPU and in eval mode: running it changes nothing in the original."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Iterator, Mapping
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx.errors import WeightsError, first_line
from lightning_onnx.module.calls.observer import is_compiled, is_recorder
from lightning_onnx.module.weights import scripted
from lightning_onnx.module.weights.state import named_tensors, state

_SILENCED = ("log", "log_dict", "print")
"""Methods of a LightningModule that need the Trainer's loops and mean nothing outside of them."""


def private_copy(module: nn.Module, tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Copy a module to the CPU, in eval mode, so that running the copy changes nothing in the original.

    Half precision becomes float32; float64 and integers stay. References to the Trainer and its loggers are kept, not
    copied, and in the copy logging from within ``forward`` does nothing. The wrappers of ``torch.compile`` and FSDP are
    removed.

    Args:
        module: The module.
        tensors: Parameters and buffers by name to take instead of copying the module's own: those gathered from all
            ranks, or those of an earlier copy, into which a checkpoint is loaded next.

    Raises:
        WeightsError: If the module cannot be copied.
    """
    memo: dict[int, Any] = {}
    for shared in _shared(module):
        memo[id(shared)] = shared
    with torch.inference_mode(False), torch.no_grad():
        for name, tensor in named_tensors(module):
            given = (tensors or {}).get(name)
            if given is not None and given.shape == tensor.shape:
                memo[id(tensor)] = _float32(given, tensor)
        for tensor in _tensors(module):
            if id(tensor) not in memo:
                memo[id(tensor)] = _float32(tensor.detach(), tensor, copy=True)
        closures = _own_closures(module, memo)
        copied = _copy_module(module, memo)
        _fill_closures(closures, memo)
        _uncompile(copied)
        _unshard(copied)
        for part in copied.modules():
            if not isinstance(part, torch.jit.ScriptModule):
                _silence(part)
        if any(t.is_meta for t in state(copied).values()):
            for part in copied.modules():
                if hasattr(part, "_device"):
                    part._device = torch.device("cpu")  # type: ignore[assignment]
        elif any(hasattr(part, "_device") for part in copied.modules()):
            copied.to("cpu")  # updates the device that Lightning's and torchmetrics' modules remember
        for part in copied.modules():
            if getattr(part, "_dtype", None) in (torch.bfloat16, torch.float16):
                part._dtype = torch.float32  # type: ignore[assignment]
        copied.requires_grad_(False)
        copied.eval()
        scripted.hide_scripts(copied)
    return copied


Closures = list[tuple[FunctionType, tuple[CellType, ...]]]


def _own_closures(module: nn.Module, memo: dict[int, Any]) -> Closures:
    """Give closures cells of their own in the copy.

    ``deepcopy`` shares functions, so a hook that closes over the module would write into the one that is training.
    """
    found: Closures = []
    for part in module.modules():
        if isinstance(part, torch.jit.ScriptModule):
            continue
        for value in (*part._forward_hooks.values(), *part._forward_pre_hooks.values(), *part.__dict__.values()):
            if isinstance(value, FunctionType) and value.__closure__ and id(value) not in memo:
                cells = tuple(CellType() for _ in value.__closure__)
                copied = FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, cells)
                copied.__kwdefaults__ = value.__kwdefaults__
                copied.__dict__.update(value.__dict__)
                memo[id(value)] = copied
                found.append((value, cells))
    return found


def _fill_closures(closures: Closures, memo: dict[int, Any]) -> None:
    for function, cells in closures:
        for old, new in zip(function.__closure__ or (), cells, strict=True):
            with contextlib.suppress(ValueError):  # an empty cell stays empty
                content = old.cell_contents
                try:
                    new.cell_contents = copy.deepcopy(content, memo)
                except Exception:  # what cannot be copied is shared
                    new.cell_contents = content


def _float32(data: Tensor, original: Tensor, copy: bool = False) -> Tensor:
    dtype = torch.float32 if data.dtype in (torch.bfloat16, torch.float16) else data.dtype
    data = data.detach() if data.is_meta else data.detach().to("cpu", dtype, copy=copy)
    return nn.Parameter(data, requires_grad=False) if isinstance(original, nn.Parameter) else data


def _copy_module(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    try:
        return copy.deepcopy(module, memo)
    except Exception as deepcopy_error:  # locks, files, generators among the attributes; sharded modules
        try:
            return _copy_structure(module, memo)
        except Exception as error:
            error.__context__ = deepcopy_error
            raise WeightsError(
                f"{type(module).__name__} cannot be copied, and nothing is run on the module that is training "
                f"({first_line(error)}). Give it a __deepcopy__ method that leaves out what cannot be copied."
            ) from error


def _copy_structure(module: nn.Module, memo: dict[int, Any]) -> nn.Module:
    """Copy module by module; an attribute that cannot be copied is shared with the original."""
    modules = list(module.modules())
    for part in modules:
        if id(part) not in memo:
            memo[id(part)] = (
                copy.deepcopy(part, memo)
                if isinstance(part, torch.jit.ScriptModule)
                else object.__new__(type(part))  # the __new__ of a sharded class does something else
            )
    for part in modules:
        if isinstance(part, torch.jit.ScriptModule):
            continue
        for name, value in part.__dict__.items():
            if name.endswith("_hooks") and isinstance(value, dict):
                value = type(value)((key, hook) for key, hook in value.items() if not _is_sharding_hook(hook))
            try:
                memo[id(part)].__dict__[name] = copy.deepcopy(value, memo)
            except Exception:
                memo[id(part)].__dict__[name] = value
    copied = memo[id(module)]
    assert isinstance(copied, nn.Module)
    return copied


def _shared(module: nn.Module) -> Iterator[Any]:
    """Yield what the copy refers to and must not copy: the Trainer and Fabric."""
    for part in module.modules():
        for name in ("_trainer", "_fabric"):
            owner = part.__dict__.get(name)
            if owner is not None:
                yield owner


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Yield every parameter, buffer and tensor in a plain attribute, such as a cached activation."""
    for part in module.modules():
        yield from (p for p in part._parameters.values() if p is not None)
        yield from (b for b in part._buffers.values() if b is not None)
        if not isinstance(part, torch.jit.ScriptModule):
            yield from (v for v in part.__dict__.values() if isinstance(v, Tensor))


def _silence(part: nn.Module) -> None:
    """Remove what records or logs: both would affect the run."""
    for name in [n for n, value in part.__dict__.items() if is_recorder(value)]:
        replaced = part.__dict__.pop(name).__func__.replaced
        if isinstance(replaced, MethodType):
            part.__dict__[name] = MethodType(replaced.__func__, part)
        elif replaced is not None:
            part.__dict__[name] = replaced
    if "_trainer" in part.__dict__:
        part.__dict__.update(dict.fromkeys(_SILENCED, _nothing))


def unsilence(module: nn.Module) -> None:
    """Let a private copy log again, for a Trainer of its own."""
    for part in module.modules():
        if "_trainer" in part.__dict__:
            for name in _SILENCED:
                part.__dict__.pop(name, None)
            # The ids of the original's metrics; without them Lightning looks for the metrics again.
            part.__dict__.update(_trainer=None, _metric_attributes=None)


def _nothing(*args: object, **kwargs: object) -> None:
    return None


def _uncompile(module: nn.Module) -> None:
    """Remove the wrappers of ``torch.compile`` from the copy."""
    for part in list(module.modules()):
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


def _unshard(module: nn.Module) -> None:
    """Replace the class that ``fully_shard`` of FSDP2 made for a module by the module's own."""
    for part in module.modules():
        if _is_sharding(type(part)):
            part.__class__ = next(c for c in type(part).__mro__[1:] if not _is_sharding(c))


def _is_sharding(cls: type) -> bool:
    """Tell whether a class is one that ``fully_shard`` made for a module's own, or its base."""
    return cls.__module__.startswith("torch.distributed.fsdp") or any(
        base.__module__.startswith("torch.distributed.fsdp") for base in cls.__bases__
    )


def _is_sharding_hook(hook: object) -> bool:
    while isinstance(hook, functools.partial):
        hook = hook.func
    hook = getattr(hook, "__wrapped__", hook)
    return str(getattr(hook, "__module__", "")).startswith("torch.distributed.fsdp")
