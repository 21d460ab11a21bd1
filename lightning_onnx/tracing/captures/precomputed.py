"""Capture a program and run it again: with what depends on weights only as weights, and complex tensors as pairs.

Computing a weight may take operators that ONNX lacks: ``matrix_exp`` of an orthogonal parametrization, power iteration
of a spectral norm. The results are weights as far as a file is concerned, computed again for every set of weights.
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
from lightning_onnx.tracing.captures import complex_operators, complex_pairs
from lightning_onnx.tracing.captures.base import Captured, DynamicShapes, export_program

with_effects = torch.ops.higher_order.with_effects


class Precomputed:
    """Captures with ``torch.export.export``, and then the module that runs what was captured."""

    follows_values = False

    def capture(self, module: FlatModule, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes) -> Captured:
        """See ``Capture.capture``.

        Raises:
            NotImplementedError: If the method writes into its buffers or inputs, or uses an operator on complex tensors
                that has no form for pairs.
        """
        captured = self.first_capture(module, tensors, dynamic_shapes)
        assert captured.program is not None
        lowered = Lowered(module, captured.program.run_decompositions())
        return Captured(export_program(lowered, tensors, dynamic_shapes), lowered.all_weights, captured.kept)

    def first_capture(self, module: FlatModule, tensors: tuple[Tensor, ...], dynamic_shapes: DynamicShapes) -> Captured:
        """Capture the program that is run again; the arguments are those of ``capture``."""
        return Captured(export_program(module, tensors, dynamic_shapes))


class Lowered(nn.Module):
    """Runs a program; its state is that of the module, and what is computed from it.

    Args:
        flat: The module that was captured.
        program: The program, of core operators.
    """

    __module__ = "lightning_onnx.lowered"  # files name the class of a node's module: it stays when this file moves
    _program: torch.export.ExportedProgram

    def __init__(self, flat: FlatModule, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        kinds = {spec.kind for spec in program.graph_signature.output_specs}
        if kinds - {OutputKind.USER_OUTPUT, OutputKind.TOKEN}:
            raise NotImplementedError("the method writes into its buffers or inputs")
        self.module = flat.module
        self.__dict__["_program"] = program  # not registered: its weights are those of `module`
        computed = self._computed(flat)
        if not computed and not any(_is_complex(node) for node in program.graph.nodes):
            raise CaptureNotApplicable("nothing in the method is complex or computed from weights only")
        for name, value in computed.items():
            self.register_buffer(name, value, persistent=False)
        self.training = False

    def all_weights(self, weights: FlatModule) -> dict[str, Tensor]:
        """Return all weights of another module of the same structure, by the names of the graph."""
        return {**state(weights), **self._computed(weights)}

    def _computed(self, weights: FlatModule) -> dict[str, Tensor]:
        """Compute what the program computes from weights only, as far as the rest of the program reads it."""
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
        """Return what the program returns."""
        program = self._program
        env: dict[fx.Node, Any] = self._known_values()
        inputs = iter(tensors)
        of_weights = set(_of_weights(program))
        for node in program.graph.nodes:
            if node in env or _is_effect(node):
                continue
            if node.op == "placeholder":
                value = next(inputs)
                env[node] = complex_pairs.split(value) if value.is_complex() else value
            elif node.op == "get_attr":
                env[node] = getattr(program.graph_module, node.target)
            elif node.op == "call_function" and (node not in of_weights or not _depends_on_placeholder(node)):
                args, kwargs = _filled((node.args, node.kwargs), env)
                env[node] = complex_operators.run(node.target, args, kwargs)
            elif node.op == "output":
                found = _filled([n for n in node.args[0] if not _is_effect(n)], env)
                return tuple(complex_pairs.join(v) if complex_pairs.is_pair(v) else v for v in found)
        raise AssertionError("a graph ends in its outputs")

    def _known_values(self) -> dict[fx.Node, Any]:
        """Return what is known before the program runs: weights, constants and what was computed from them."""
        buffers = dict(self.named_buffers(recurse=False))
        weights = dict((*self.named_parameters(remove_duplicate=False), *self.named_buffers()))
        known: dict[fx.Node, Any] = dict(_held(self._program, weights))
        for node in self._program.graph.nodes:
            name = f"computed_{node.name}"
            if f"{name}_real" in buffers:
                known[node] = complex_pairs.Pair(buffers[f"{name}_real"], buffers[f"{name}_imag"])
            elif name in buffers:
                known[node] = buffers[name]
        return known


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
    """Return the nodes that depend on weights and constants only, in order."""
    inputs = set(program.graph_signature.user_inputs)
    found: dict[fx.Node, None] = {}
    for node in program.graph.nodes:
        if (node.op == "placeholder" and node.name not in inputs) or (
            node.op == "call_function" and all(n in found for n in node.all_input_nodes)
        ):
            found[node] = None
    return list(found)


def _depends_on_placeholder(node: fx.Node) -> bool:
    """Tell whether a node of ``_of_weights`` depends on a weight; one that does not is left to the graph."""
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
    """Return the tensors of weights only that the rest of the program reads."""
    known = dict.fromkeys(_of_weights(program))
    return [
        node
        for node in known
        if isinstance(node.meta.get("val"), Tensor)
        and not _is_effect(node)
        and any(user not in known for user in node.users)
        and _depends_on_placeholder(node)
    ]


def _is_effect(node: fx.node.Argument) -> bool:
    """Tell whether a node only orders effects: errors that torch raises on invalid values, which a file has not."""
    if not isinstance(node, fx.Node):
        return False
    if node.op == "placeholder":
        return any(user.target is with_effects for user in node.users)
    return node.target is with_effects or (node.target is operator.getitem and _is_effect(node.args[0]))


def _is_complex(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_complex()


def _filled(argument: Any, env: Mapping[fx.Node, Any]) -> Any:
    """Replace the nodes in an argument by their values."""
    return fx.node.map_arg(argument, lambda node: env[node])
