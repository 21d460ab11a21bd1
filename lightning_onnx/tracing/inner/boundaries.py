"""What enters and leaves each call of a submodule, for graphs that the TorchScript based engine wrote.

That engine keeps no program that could be run again, but it names nodes after the calls that they come from:
``/net/net.0_1/MatMul`` belongs to the second call of ``net.0``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import onnx
import torch
from onnx import GraphProto
from torch import Tensor, nn

from lightning_onnx.module.arrays import to_numpy
from lightning_onnx.module.calls.nested import flatten
from lightning_onnx.module.flat import PREFIX, FlatModule
from lightning_onnx.module.inner_values import OnValue
from lightning_onnx.tracing.inner.call_sides import ModuleCall, Sides, find_sides


@dataclasses.dataclass(frozen=True)
class Boundaries:
    """Finds the tensors at the boundaries of calls, see ``lightning_onnx.module.inner_values.InnerValues``.

    Args:
        flat: A private copy with the exported weights; it has hooks while it runs.
    """

    flat: FlatModule

    def __call__(self, graph: GraphProto, tensors: Sequence[Tensor], on_value: OnValue) -> None:
        """Run the module."""
        modules = {n.removeprefix(PREFIX): m for n, m in self.flat.named_modules() if n.startswith(PREFIX)}
        watch = _Watch(find_sides(graph, set(modules)), on_value)
        with contextlib.ExitStack() as hooks:
            for name, module in modules.items():
                if not isinstance(module, torch.jit.ScriptModule):
                    hooks.callback(module.register_forward_pre_hook(watch.entering(name), with_kwargs=True).remove)
                    hooks.callback(module.register_forward_hook(watch.leaving(name)).remove)
            self.flat.reference(tensors)


class _Watch:
    """Hooks that report the tensors which a call takes and returns, under the names of the file's values."""

    def __init__(self, sides: Mapping[ModuleCall, Sides], on_value: OnValue) -> None:
        self.sides = sides
        self.on_value = on_value
        self.started: Counter[str] = Counter()
        self.running: list[ModuleCall] = []
        self.known: dict[int, tuple[weakref.ref[Tensor], str]] = {}

    def entering(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            call = ModuleCall(name, self.started[name])
            self.started[name] += 1
            self.running.append(call)
            if call in self.sides:
                self._report(self.sides[call].entering, (args, kwargs))

        return hook

    def leaving(self, name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            call = self.running.pop()
            if call in self.sides:
                self._report(self.sides[call].leaving, output)
            else:  # it has no node: for example a batch norm that was folded into the layer before it
                self._report_merged(args, output)

        return hook

    def _report(self, names: Mapping[int, str], value: Any) -> None:
        for tensor in _only_of_dtype(value):
            if name := names.get(_element_type(tensor)):
                self.known[id(tensor)] = (weakref.ref(tensor), name)
                self.on_value(name, tensor.detach().clone())

    def _report_merged(self, args: tuple[Any, ...], output: Any) -> None:
        """Report what a call returns under the name of what it takes."""
        taken, returned = _tensors(args), _tensors(output)
        if len(taken) == len(returned) == 1:
            found, name = self.known.get(id(taken[0]), (None, ""))
            if found is not None and found() is taken[0]:
                self.known[id(returned[0])] = (weakref.ref(returned[0]), name)
                self.on_value(name, returned[0].detach().clone())


def _tensors(value: Any) -> list[Tensor]:
    return list(flatten(value, opaque=True)[1])


def _element_type(tensor: Tensor) -> int:
    """Return ONNX's number of a tensor's element type."""
    return int(onnx.helper.np_dtype_to_tensor_dtype(to_numpy(torch.empty(0, dtype=tensor.dtype)).dtype))


def _only_of_dtype(value: Any) -> Iterator[Tensor]:
    """Yield the tensors whose dtype no other has: it is then certain which value is which."""
    tensors = _tensors(value)
    dtypes = Counter(t.dtype for t in tensors)
    yield from (t for t in tensors if dtypes[t.dtype] == 1)
