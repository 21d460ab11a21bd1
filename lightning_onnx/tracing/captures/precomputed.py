"""A captured program run anew: what depends on weights alone as weights, complex tensors as pairs.

Computing a weight may take operators that ONNX lacks: ``matrix_exp`` of an orthogonal parametrization, power iteration
of a spectral norm. Those results are weights as far as a file is concerned, computed again for every set of weights.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import OutputKind

from lightning_onnx.errors import CaptureNotApplicable
from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.weights.state import state
from lightning_onnx.tracing.captures import complex_pairs

with_effects = torch.ops.higher_order.with_effects


class Lowered(nn.Module):
    """Runs a program; its state is that of the module, and what is computed of it.

    Args:
        flat: The module that was captured.
        program: The program, of core operators.

    Raises:
        NotImplementedError: If the program writes into its buffers or inputs.
        NeedlessError: If it is no other when run anew.
    """

    _program: torch.export.ExportedProgram

    def __init__(self, flat: FlatModule, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        kinds = {spec.kind for spec in program.graph_signature.output_specs}
        if kinds - {OutputKind.USER_OUTPUT, OutputKind.TOKEN}:
            raise NotImplementedError("the method writes into its buffers or inputs")
        self.module = flat.module
        self.__dict__["_program"] = program  # no part of its own
        computed = self.computed(flat)
        if not computed and not any(_is_complex(node) for node in program.graph.nodes):
            raise CaptureNotApplicable("nothing in the method is complex or computed of weights alone")
        for name, value in computed.items():
            self.register_buffer(name, value, persistent=False)
        self.training = False

    def values(self, weights: FlatModule) -> dict[str, Tensor]:
        """Return all weights of another module of the same structure, by the names of the graph."""
        return {**state(weights), **self.computed(weights)}

    def computed(self, weights: FlatModule) -> dict[str, Tensor]:
        """Compute what the program computes of weights alone."""
        found: dict[str, Tensor] = {}
        with torch.no_grad():
            env: dict[fx.Node, Any] = dict(_held(self._program, state(weights)))
            for node in _of_weights(self._program):
                if node.op == "call_function" and not _is_effect(node):
                    args, kwargs = _filled((node.args, node.kwargs), env)
                    env[node] = node.target(*args, **kwargs)  # type: ignore[operator]
            for node in _frontier(self._program):
                value = env[node]
                if value.is_complex():
                    pair = complex_pairs.split(value)
                    found |= {f"computed_{node.name}_real": pair.re, f"computed_{node.name}_imag": pair.im}
                elif node.op == "call_function":
                    found[f"computed_{node.name}"] = value
        return {name: value.detach().clone() for name, value in found.items()}

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return what the program does."""
        program = self._program
        env: dict[fx.Node, Any] = dict(
            _held(program, dict((*self.named_parameters(remove_duplicate=False), *self.named_buffers())))
        )
        inputs = iter(tensors)
        known = set(_of_weights(program))
        buffers = dict(self.named_buffers(recurse=False))
        for node in program.graph.nodes:
            name = f"computed_{node.name}"
            if f"{name}_real" in buffers:
                env[node] = complex_pairs.Pair(buffers[f"{name}_real"], buffers[f"{name}_imag"])
            elif name in buffers:
                env[node] = buffers[name]
            elif _is_effect(node):
                continue
            elif node.op == "placeholder" and node not in env:
                value = next(inputs)
                env[node] = complex_pairs.split(value) if value.is_complex() else value
            elif node.op == "get_attr":
                env[node] = getattr(program.graph_module, node.target)
            elif node.op == "call_function" and (node not in known or not _held_by_any(node, program)):
                args, kwargs = _filled((node.args, node.kwargs), env)
                env[node] = complex_pairs.run(node.target, args, kwargs)
            elif node.op == "output":
                found = _filled([n for n in node.args[0] if not _is_effect(n)], env)
                return tuple(complex_pairs.join(v) if complex_pairs.is_pair(v) else v for v in found)
        raise AssertionError("a graph ends in its outputs")


def _held(program: torch.export.ExportedProgram, values: Mapping[str, Tensor]) -> Iterator[tuple[fx.Node, Tensor]]:
    """Yield the placeholders of weights and constants, with their values."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    constants = signature.inputs_to_lifted_tensor_constants
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names:
            name = names[node.name]
            yield node, values[name] if name in values else program.state_dict.get(name, program.constants.get(name))
        elif node.op == "placeholder" and node.name in constants:
            yield node, program.constants[constants[node.name]]


def _of_weights(program: torch.export.ExportedProgram) -> list[fx.Node]:
    """Return the nodes that depend on weights and constants alone, in order."""
    inputs = set(program.graph_signature.user_inputs)
    found: dict[fx.Node, None] = {}
    for node in program.graph.nodes:
        if (node.op == "placeholder" and node.name not in inputs) or (
            node.op == "call_function" and all(n in found for n in node.all_input_nodes)
        ):
            found[node] = None
    return list(found)


def _held_by_any(node: fx.Node, program: torch.export.ExportedProgram) -> bool:
    """Tell whether a node depends on a weight; one that does not is left to the graph."""
    pending, seen = [node], set()
    while pending:
        now = pending.pop()
        if now.op == "placeholder":
            return True
        if now not in seen:
            seen.add(now)
            pending.extend(now.all_input_nodes)
    return False


def _frontier(program: torch.export.ExportedProgram) -> list[fx.Node]:
    """Return the tensors of weights alone that the rest of the program reads."""
    known = dict.fromkeys(_of_weights(program))
    return [
        node
        for node in known
        if isinstance(node.meta.get("val"), Tensor)
        and not _is_effect(node)
        and any(user not in known for user in node.users)
        and _held_by_any(node, program)
    ]


def _is_effect(node: Any) -> bool:
    """Tell whether a node orders effects, which are errors that torch raises on bad values; a file has none."""
    if not isinstance(node, fx.Node):
        return False
    if node.op == "placeholder":
        return any(user.target is with_effects for user in node.users)
    return node.target is with_effects or (node.target is operator.getitem and _is_effect(node.args[0]))


def _is_complex(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_complex()


def _filled(value: Any, env: Mapping[fx.Node, Any]) -> Any:
    return fx.node.map_arg(value, lambda node: env[node])
