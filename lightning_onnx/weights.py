"""Whose weights are exported, and the private copy of the module that carries them.

Nothing here runs or changes the live module: it is copied to the CPU, in float32 (or its own float64) and eval mode.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from types import CellType, FunctionType, MethodType
from typing import Any

import fsspec
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
        weights: ``"best"`` or ``"live"``.
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


def private_copy(module: nn.Module) -> nn.Module:
    """Copy a module to the CPU, in eval mode, so that running the copy touches nothing of the original.

    Half precision becomes float32; float64 and integers stay. References to the Trainer and its loggers are kept, not
    copied, and logging from within ``forward`` does nothing in the copy. Wrappers of ``torch.compile`` are taken off.

    Raises:
        WeightsError: If the module cannot be copied.
    """
    memo: dict[int, Any] = {}
    for shared in _shared(module):
        memo[id(shared)] = shared
    with torch.inference_mode(False), torch.no_grad():
        for tensor in _tensors(module):
            if id(tensor) not in memo:
                memo[id(tensor)] = _copy_tensor(tensor)
        closures = _own_closures(module, memo)
        copied = _copy_module(module, memo)
        _fill_closures(closures, memo)
        _uncompile(copied)
        for part in copied.modules():
            if not isinstance(part, torch.jit.ScriptModule):
                _silence(part)
        if any(hasattr(part, "_device") for part in copied.modules()):
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


def _copy_tensor(tensor: Tensor) -> Tensor:
    data = tensor.detach()
    dtype = torch.float32 if data.dtype in (torch.bfloat16, torch.float16) else data.dtype
    data = data.to("cpu", dtype, copy=True)
    return nn.Parameter(data, requires_grad=False) if isinstance(tensor, nn.Parameter) else data


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
                else type(part).__new__(type(part))
            )
    for part in modules:
        if isinstance(part, torch.jit.ScriptModule):
            continue
        for name, value in part.__dict__.items():
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


def state(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, those that are not saved in checkpoints included."""
    return {
        name: tensor.detach()
        for name, tensor in (
            *module.named_parameters(remove_duplicate=False),
            *module.named_buffers(remove_duplicate=False),
        )
    }


def load(module: nn.Module, state_dict: Mapping[str, Tensor], strict: bool = True) -> None:
    """Put a checkpoint's ``state_dict`` into a private copy.

    Raises:
        WeightsError: If names or shapes do not fit.
    """
    plain = {name.replace("_orig_mod.", ""): tensor for name, tensor in state_dict.items()}
    try:
        module.load_state_dict(plain, strict=strict)
    except RuntimeError as error:
        raise WeightsError(
            f"the checkpoint's weights do not fit {type(module).__name__}: {first_line(error, 1000)}. "
            'Export the live weights (weights="live") or follow a ModelCheckpoint of this module (checkpoint=...).'
        ) from error


def load_checkpoint(module: nn.Module, content: dict[str, Any]) -> None:
    """Load a checkpoint's content into a private copy as ``load_from_checkpoint`` does, the module's own hook included.

    Raises:
        WeightsError: If the hook fails, or names or shapes do not fit.
    """
    hook = getattr(type(module), "on_load_checkpoint", None)
    if hook is not None and not hook.__module__.startswith(("lightning.", "pytorch_lightning.")):
        try:
            module.on_load_checkpoint(content)  # type: ignore[operator]
        except Exception as error:
            raise WeightsError(
                f"{type(module).__name__}.on_load_checkpoint fails on the checkpoint to export: {first_line(error)}. "
                'Make it work on a copy of the module on the CPU, or export the live weights (weights="live").'
            ) from error
    load(module, content["state_dict"], strict=getattr(module, "strict_loading", True))


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


def read_checkpoint(path: str) -> dict[str, Any]:
    """Read a Lightning checkpoint without running anything that stands in it.

    Hyperparameters may hold any class, which ``torch.load(weights_only=True)`` refuses; here they become inert
    placeholders, and tensors are read.

    Raises:
        WeightsError: If the file cannot be read or holds no ``state_dict``.
    """
    try:
        with fsspec.open(path, "rb") as file:
            content = _unpickled(file)
    except Exception as error:
        raise WeightsError(
            f"the checkpoint {os.path.basename(path)!r} cannot be read: {first_line(error)}. "
            'Keep checkpoints until training ends, or export the live weights (weights="live").'
        ) from error
    if not isinstance(content, dict) or not isinstance(content.get("state_dict"), Mapping):
        raise WeightsError(f"{os.path.basename(path)!r} holds no state_dict. Give a checkpoint of Lightning.")
    return content


def _unpickled(file: Any) -> Any:
    """Read with torch's own safe reader, and what that refuses with inert placeholders."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        file.seek(0)
        return torch.load(file, map_location="cpu", weights_only=False, pickle_module=_InertPickle)


class _Inert:
    """Stands for an object whose class is not loaded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self

    def append(self, item: Any) -> None:
        """Take an item of a list's subclass."""

    def __setitem__(self, key: Any, value: Any) -> None:
        pass


_SAFE_MODULES = {"collections": {"OrderedDict", "defaultdict"}}
_SAFE_TORCH = re.compile(
    r"torch(\._utils _rebuild_\w+|\.storage \w*Storage|\.serialization _get_layout|\.nn\.parameter (Parameter|Buffer)"
    r"|\._tensor _rebuild_from_type_v2| \w+Storage| Size| device| Tensor| float\d+| int\d+| bfloat16| bool| uint8)"
)


class _InertUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if name in _SAFE_MODULES.get(module, ()) or _SAFE_TORCH.fullmatch(f"{module} {name}"):
            return super().find_class(module, name)
        return _Inert


class _InertPickle:
    """What ``torch.load`` asks of a ``pickle_module``."""

    Unpickler = _InertUnpickler
    __name__ = "inert pickle"

    @staticmethod
    def load(file: Any, **kwargs: Any) -> Any:
        return _InertUnpickler(file, **kwargs).load()
