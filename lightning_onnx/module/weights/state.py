"""Parameters and buffers of a module by name, and the structure that a graph relies on; nothing runs the module."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy


def is_sharded(module: nn.Module) -> bool:
    """Tell whether a module's parameters are spread over ranks."""
    return any(hasattr(parameter, "full_tensor") for parameter in module.parameters())


def gathered(module: nn.Module) -> dict[str, Tensor]:
    """Gather the tensors of a sharded module on rank zero's CPU. Every rank must call it; other ranks get none."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    return {n: t for n, t in get_model_state_dict(module, options=options).items() if isinstance(t, Tensor)}


def state(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers by name, including those that are not saved in checkpoints."""
    return {name: tensor.detach() for name, tensor in named_tensors(module)}


def persistent(module: nn.Module) -> dict[str, Tensor]:
    """Return the parameters and buffers that a checkpoint holds, by name."""
    kept = module.state_dict(keep_vars=True).keys()
    return {name: tensor for name, tensor in state(module).items() if name in kept}


def named_tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Yield parameters and buffers by name, shared ones once for each name; not those of lazy layers never called."""
    both = itertools.chain(
        module.named_parameters(remove_duplicate=False), module.named_buffers(remove_duplicate=False)
    )
    return ((name, tensor) for name, tensor in both if not is_lazy(tensor))


def weight_bytes(module: nn.Module) -> int:
    """Return the bytes of a module's parameters and buffers, shared ones once.

    Example:
        >>> layer = nn.Linear(3, 2)
        >>> weight_bytes(nn.Sequential(layer, layer))
        32
    """
    tensors = {id(tensor): tensor for _, tensor in named_tensors(module)}.values()
    return sum(t.numel() * t.element_size() for t in tensors)  # sparse ones have no nbytes


def structure_of(module: nn.Module) -> tuple[Any, ...]:
    """Return what a traced graph relies on: modules, their classes, shapes of their tensors, and what is quantized."""
    modules = tuple((name, type(part).__qualname__) for name, part in module.named_modules())
    shared: dict[int, int] = {}
    same = tuple(shared.setdefault(id(t), len(shared)) for _, t in named_tensors(module))
    flags = tuple((n, bool(t.any())) for n, t in module.named_buffers() if n.endswith("fake_quant_enabled"))
    return modules, tuple((name, tuple(t.shape), t.dtype) for name, t in state(module).items()), same, flags
