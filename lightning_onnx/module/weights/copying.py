"""The private copy of the module, on the CPU and in eval mode: running it changes nothing in the original."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from lightning_onnx.errors import WeightsError, first_line
from lightning_onnx.module.calls.observer import is_recorder
from lightning_onnx.module.reach import is_project_class
from lightning_onnx.module.slots import slots_of
from lightning_onnx.module.weights import scripted, trainer_view, wrappers
from lightning_onnx.module.weights.closures import Closures
from lightning_onnx.module.weights.copier import Copier, on_cpu
from lightning_onnx.module.weights.state import named_tensors, state


def private_copy(module: nn.Module, tensors: Mapping[str, Tensor] | None = None) -> nn.Module:
    """Copy a module to the CPU, in eval mode, so that running the copy changes nothing in the original.

    Half precision becomes float32; float64 and integers stay. The copy sees the same Trainer state as the module, but
    its logging does nothing. Objects that cannot be copied, such as locks, are shared. The wrappers of
    ``torch.compile`` and FSDP are removed.

    Args:
        module: The module.
        tensors: Parameters and buffers by name to use instead of copies of the module's own: gathered from all ranks,
            or from an earlier copy, into which a checkpoint is loaded next.

    Raises:
        WeightsError: If the module cannot be copied.
    """
    with torch.inference_mode(False), torch.no_grad():
        try:
            making = _ModuleCopy(module, tensors or {})
            copied = making.make()
        except Exception as error:
            raise WeightsError(
                f"{type(module).__name__} cannot be copied ({first_line(error)}), and the module in training itself is "
                "never run. Give it a __deepcopy__ method that leaves out what cannot be copied."
            ) from error
        wrappers.uncompile(copied)
        wrappers.unshard(copied)
        making.closures.give_own(copied)
        wrappers.silence(copied)
        trainer_view.show_module(copied)
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


class _ModuleCopy:
    """Copies a tree of modules: first an empty object for each module, then their attributes one by one.

    In this way every attribute finds all modules of the tree in the memo, and one that cannot be copied affects no
    other.
    """

    def __init__(self, module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
        self.module = module
        self.copier = Copier()
        self._given = tensors

    def make(self) -> nn.Module:
        memo = self.copier.memo
        for original, replacement in trainer_view.replacements(self.module):
            memo[id(original)] = replacement
        whole = [part for part in self.module.modules() if _copies_itself(part)]
        inside = {id(part) for outer in whole for part in outer.modules()}
        parts = [part for part in self.module.modules() if id(part) not in inside]
        for part in parts:
            memo[id(part)] = object.__new__(type(part))  # sharded classes override __new__
        self._add_special_values()
        self.closures = Closures(self.module, self.copier)
        for part in whole:
            if id(part) not in memo:
                self.copier.copy(part)
        for part in parts:
            self._fill(part)
        self.closures.fill()
        copied = memo[id(self.module)]
        assert isinstance(copied, nn.Module)
        return copied

    def _add_special_values(self) -> None:
        """Add what ``deepcopy`` would copy wrongly to the memo: tensors, weak references, what ranks share."""
        memo = self.copier.memo
        for name, tensor in named_tensors(self.module):
            given = self._given.get(name)
            if given is not None and given.shape == tensor.shape:
                memo[id(tensor)] = on_cpu(given, tensor)
        for value in _values(self.module):
            if id(value) in memo:
                continue
            if is_lazy(value):  # its layer was never called, and no tracer accepts it
                memo[id(value)] = None
            elif isinstance(value, Tensor):
                memo[id(value)] = on_cpu(value, value, copy=True)
            elif isinstance(value, weakref.ref) and id(value()) in memo:
                memo[id(value)] = weakref.ref(memo[id(value())])
            elif type(value).__module__.startswith("torch.distributed."):
                memo[id(value)] = value  # such as a mesh of devices, or a process group

    def _fill(self, part: nn.Module) -> None:
        made = self.copier.memo[id(part)]
        attributes = _attributes(part)
        if type(part).__setstate__ is nn.Module.__setstate__:
            self.copier.fill(made, attributes)
        else:
            made.__setstate__({name: self.copier.copy(value) for name, value in attributes.items()})
        for name in slots_of(type(part)):
            if hasattr(part, name):
                object.__setattr__(made, name, self.copier.copy(getattr(part, name)))


def _copies_itself(part: nn.Module) -> bool:
    """Tell whether a module has to be copied by its own code, with all its submodules."""
    if isinstance(part, torch.jit.ScriptModule):
        return True
    own = getattr(type(part), "__deepcopy__", None)
    # The methods of FSDP only raise, and the one of parametrized modules does the same as this file.
    left_alone = ("torch.distributed.", "torch.nn.utils.parametrize")
    return own is not None and not str(own.__module__).startswith(left_alone)


def _attributes(part: nn.Module) -> dict[str, Any]:
    """Return the attributes to copy, as the module's class defines them; without recorders of calls and sharding."""
    own = getattr(type(part), "__getstate__", None)
    found = dict(part.__dict__)
    if own is not None and own is not getattr(object, "__getstate__", None):
        with contextlib.suppress(Exception):  # the method of a parametrized module always raises
            found = dict(own(part))
    if "_trainer" in part.__dict__:  # LightningModule leaves it out
        found["_trainer"] = part.__dict__["_trainer"]
    for name, value in list(found.items()):
        if wrappers.is_sharding_state(name):
            del found[name]
        elif is_recorder(value):
            del found[name]
            if value.__func__.replaced is not None:
                found[name] = value.__func__.replaced
        elif name.endswith("_hooks") and isinstance(value, dict):
            hooks = ((key, hook) for key, hook in value.items() if not wrappers.is_sharding_hook(hook))
            found[name] = type(value)(hooks)
    return found


def _values(module: nn.Module) -> Iterator[Any]:
    """Yield parameters, buffers, plain attributes, and what is inside them: cached tensors, unregistered modules."""
    for part in module.modules():
        yield from (p for p in part._parameters.values() if p is not None)
        yield from (b for b in part._buffers.values() if b is not None)
        if not isinstance(part, torch.jit.ScriptModule):
            for name, value in part.__dict__.items():
                if name not in ("_parameters", "_buffers", "_modules"):
                    yield from _inside(value, depth=4)


def _inside(value: object, depth: int) -> Iterator[object]:
    yield value
    if isinstance(value, nn.Module):
        yield from (tensor for _, tensor in named_tensors(value))
    elif depth:
        for item in _items(value):
            yield from _inside(item, depth - 1)


def _items(value: object) -> Collection[object]:
    if isinstance(value, (list, tuple, set)):
        return value
    if isinstance(value, dict):
        return value.values()
    return vars(value).values() if hasattr(value, "__dict__") and is_project_class(type(value)) else ()
