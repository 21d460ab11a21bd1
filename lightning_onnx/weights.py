"""Whose weights are exported, and the private copy of the module that carries them.

Nothing here runs or changes the live module: it is copied to the CPU, in float32 (or its own float64) and eval mode.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Iterator, Mapping
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from lightning_onnx import scripted
from lightning_onnx.errors import WeightsError, first_line
from lightning_onnx.observe import is_compiled, is_recorder

_SILENCED = ("log", "log_dict", "print")
"""Methods of a LightningModule that reach into the Trainer's loops and have no meaning outside of them."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the exported weights come from; goes into the manifest.

    Attributes:
        weights: ``"best"`` (the followed ModelCheckpoint's best so far), ``"checkpoint"`` (another) or ``"live"``.
        epoch: Epoch of the weights, counted from 0.
        global_step: Number of optimizer steps that made them.
        checkpoint: File name (without directory) of the checkpoint, None for live weights.
        monitor: Name of the metric that chose the checkpoint.
        score: Its value.
        precision: Precision of the training, as Lightning names it.
        device: Type of the device of the training.
    """

    weights: str = "live"
    epoch: int | None = None
    global_step: int | None = None
    checkpoint: str | None = None
    monitor: str | None = None
    score: float | None = None
    precision: str | None = None
    device: str | None = None


def private_copy(module: nn.Module, tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Copy a module to the CPU, in eval mode, so that running the copy touches nothing of the original.

    Half precision becomes float32; float64 and integers stay. References to the Trainer and its loggers are kept, not
    copied, and logging from within ``forward`` does nothing in the copy. Wrappers of ``torch.compile`` are taken off,
    and those of FSDP.

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
        for name, tensor in _named_tensors(module):
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
            copied.to("cpu")  # tells the device mixin of Lightning and of torchmetrics
        for part in copied.modules():
            if getattr(part, "_dtype", None) in (torch.bfloat16, torch.float16):
                part._dtype = torch.float32  # type: ignore[assignment]
        copied.requires_grad_(False)
        copied.eval()
        scripted.hide_scripts(copied)
    return copied


Closures = list[tuple[FunctionType, tuple[CellType, ...]]]


def _own_closures(module: nn.Module, memo: dict[int, Any]) -> Closures:
    """Give functions that close over something cells of their own in the copy.

    ``deepcopy`` shares functions, so a hook that closes over the module would write into the one that trains.
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
                f"{type(module).__name__} cannot be copied, and nothing is run on the module that trains "
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
                else object.__new__(type(part))  # a sharded class has a __new__ that does something else
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
    """What the copy refers to and must not copy: the Trainer, Fabric and what they own."""
    for part in module.modules():
        for name in ("_trainer", "_fabric"):
            owner = part.__dict__.get(name)
            if owner is not None:
                yield owner


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    """Every parameter, buffer and tensor kept as a plain attribute (cached activations among them)."""
    for part in module.modules():
        yield from (p for p in part._parameters.values() if p is not None)
        yield from (b for b in part._buffers.values() if b is not None)
        if not isinstance(part, torch.jit.ScriptModule):
            yield from (v for v in part.__dict__.values() if isinstance(v, Tensor))


def _silence(part: nn.Module) -> None:
    """Take off what records or logs: both would reach from the copy into the run."""
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
            # Of the original's metrics, by their ids; Lightning looks at the module again where there is none.
            part.__dict__.update(_trainer=None, _metric_attributes=None)


def _nothing(*args: Any, **kwargs: Any) -> None:
    return None


def _uncompile(module: nn.Module) -> None:
    """Take the wrappers of ``torch.compile`` off the copy."""
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
    """Take off the copy the class that ``fully_shard`` of FSDP2 put in front of the module's own."""
    for part in module.modules():
        if _is_sharding(type(part)):
            part.__class__ = next(c for c in type(part).__mro__[1:] if not _is_sharding(c))


def _is_sharding(cls: type) -> bool:
    """Tell whether a class is one that ``fully_shard`` made for a module's own, or its base."""
    return cls.__module__.startswith("torch.distributed.fsdp") or any(
        base.__module__.startswith("torch.distributed.fsdp") for base in cls.__bases__
    )


def _is_sharding_hook(hook: Any) -> bool:
    while isinstance(hook, functools.partial):
        hook = hook.func
    hook = getattr(hook, "__wrapped__", hook)
    return str(getattr(hook, "__module__", "")).startswith("torch.distributed.fsdp")


def is_sharded(module: nn.Module) -> bool:
    """Tell whether a module's parameters are spread over ranks."""
    return any(hasattr(parameter, "full_tensor") for parameter in module.parameters())


def gathered(module: nn.Module) -> dict[str, Tensor]:
    """Gather the parameters of a sharded module on rank zero's CPU. Every rank must call it; the others get nothing."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return {n: t for n, t in get_model_state_dict(module, options=options).items() if isinstance(t, Tensor)}


def state(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, those that are not saved in checkpoints included."""
    return {name: tensor.detach() for name, tensor in _named_tensors(module)}


def persistent(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers that a checkpoint holds, by name."""
    kept = module.state_dict(keep_vars=True).keys()
    return {name: tensor for name, tensor in state(module).items() if name in kept}


def empty(module: nn.Module) -> dict[str, Tensor] | None:
    """Return parameters and buffers without memory, for a checkpoint to fill: the weights are then there once.

    None where it is not sure that ``load_state_dict(assign=True)`` fills all of them.
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
    """Whether loading is code that is not torch's; that of its norms assigns as well."""
    names = ("load_state_dict", "_load_from_state_dict", "set_extra_state")
    return any(not getattr(type(part), name).__module__.startswith("torch.nn.") for name in names)


def _named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def load(module: nn.Module, state_dict: Mapping[str, Tensor], strict: bool = True) -> None:
    """Put a checkpoint's ``state_dict`` into a private copy.

    Raises:
        WeightsError: If names or shapes do not fit.
    """
    plain = {name.replace("_orig_mod.", ""): tensor for name, tensor in state_dict.items()}
    try:
        if any(t.is_meta for t in module.parameters()):  # they wait for tensors, instead of values
            half = (torch.bfloat16, torch.float16)
            plain = {n: t.float() if isinstance(t, Tensor) and t.dtype in half else t for n, t in plain.items()}
            module.load_state_dict(plain, strict=strict, assign=True)
            module.requires_grad_(False)
        else:
            module.load_state_dict(plain, strict=strict)
    except RuntimeError as error:
        raise WeightsError(
            f"the checkpoint's weights do not fit {type(module).__name__}: {' '.join(str(error).split())[:1000]}. "
            'Export the live weights (weights="live") or follow a ModelCheckpoint of this module (checkpoint=...).'
        ) from error


def load_checkpoint(
    module: nn.Module, content: dict[str, Any], averages: Mapping[str, Tensor] | None = None, averaged: bool = False
) -> list[str]:
    """Load a checkpoint's content into a private copy as ``load_from_checkpoint`` does, the module's own hook included.

    Args:
        module: The private copy.
        content: What ``OpenCheckpoint.read`` gave.
        averages: What ``averages`` gave when the checkpoint was saved, where it was asked then.
        averaged: Whether the run averages weights.

    Returns:
        What a user should know, in sentences.

    Raises:
        WeightsError: If the hook fails, or names or shapes do not fit.
    """
    notes = []
    if averaged and averages is None and "averaging_state" not in content:
        notes.append(
            "it holds the raw weights alone, not the averages, and these are exported; save whole checkpoints "
            '(save_weights_only=False), or export when they are saved (when="checkpoint")'
        )
    if averages is not None and "averaging_state" not in content:
        content = {**content, "state_dict": {**content["state_dict"], **averages}}
        notes.append("it holds the raw weights alone; the averages were taken from the averaging callback")
    if overrides(type(module), "on_load_checkpoint"):
        try:
            module.on_load_checkpoint(content)  # type: ignore[operator]
        except Exception as error:
            raise WeightsError(
                f"{type(module).__name__}.on_load_checkpoint fails on the checkpoint to export: {first_line(error)}. "
                'Make it work on a copy of the module on the CPU, or export the live weights (weights="live").'
            ) from error
    load(module, content["state_dict"], strict=getattr(module, "strict_loading", True))
    return notes


def overrides(kind: type, hook: str) -> bool:
    """Tell whether a class has a hook of its own, and not that of either package of Lightning."""
    own = getattr(kind, hook, None)
    return own is not None and not own.__module__.startswith(("lightning.", "pytorch_lightning."))


def averaging(trainer: Any) -> Any:
    """Return the Trainer's callback that averages weights (``WeightAveraging`` and its kin, of either package)."""
    return next((c for c in trainer.callbacks if any(k.__name__ == "WeightAveraging" for k in type(c).__mro__)), None)


def averages(trainer: Any, module: nn.Module) -> dict[str, Tensor] | None:
    """Return a copy of the averaged weights as a whole checkpoint would hold them now; None where nothing averages.

    A checkpoint of weights alone is saved without asking the averaging callback, and holds the raw ones.
    """
    callback = averaging(trainer)
    if callback is None:
        return None
    content: dict[str, Any] = {"state_dict": module.state_dict()}
    callback.on_save_checkpoint(trainer, module, content)
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in content["state_dict"].items()}


def merge_adapters(module: nn.Module) -> None:
    """Merge the adapters of peft (LoRA and its kin) into the weights of a private copy, so that no graph has them.

    Names stay: the weights are those of ``base_layer``. A layer that cannot merge stays as it is and is exported with
    its adapter.
    """
    part: Any
    for part in module.modules():
        if isinstance(getattr(part, "merged", None), bool) and hasattr(part, "active_adapters"):
            with contextlib.suppress(NotImplementedError, ValueError), torch.no_grad():
                part.merge()


def structure_of(module: nn.Module) -> tuple[Any, ...]:
    """Return what a traced graph relies on: modules, their classes, and the shapes of their tensors."""
    modules = tuple((name, type(part).__qualname__) for name, part in module.named_modules())
    return modules, tuple((name, tuple(t.shape), t.dtype) for name, t in state(module).items())
