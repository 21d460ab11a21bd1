"""A captured program without its weights, to be run again for the values that torch computes on the way, by name.

``torch.onnx.verification`` does the same, but with a program that holds the weights with which it was captured, and
for graphs that were not optimized: it looks up each of torch's values in the file, and starts a session for each. Here
operators that the optimizer merged into others are known, and one run gives all values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from onnx import GraphProto
from torch import Tensor, fx
from torch.export.graph_signature import InputKind, OutputKind

from lightning_onnx.module.flat import FlatModule
from lightning_onnx.module.inner_values import OnValue


@dataclasses.dataclass(frozen=True)
class _Result:
    """Stands for the result of a step in another step's arguments."""

    name: str


class _Step(NamedTuple):
    """A call of an operator; ``inputs`` are the names of all values among its arguments."""

    name: str
    target: Callable[..., Any]
    args: Any
    kwargs: Any
    inputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Program:
    """The steps of a program, without its weights and without torch's metadata, which needs much memory.

    Attributes:
        steps: Calls of operators, in order.
        inputs: Names of the inputs.
        weights: Names of the weights in the module's state, by their names in the program.
        constants: Tensors that are the same for all weights.
        outputs: Names of the outputs; None for one that is not a tensor of the program.
    """

    steps: tuple[_Step, ...]
    inputs: tuple[str, ...]
    weights: Mapping[str, str]
    constants: Mapping[str, Tensor]
    outputs: tuple[str | None, ...]

    @classmethod
    def of(cls, program: torch.export.ExportedProgram, names: Collection[str]) -> Program | None:
        """Take a program apart; return None if it has branches or loops, which torch would have to compile.

        Args:
            program: The program that was translated.
            names: Names of the module's weights.
        """
        graph, signature = program.graph, program.graph_signature
        if any(node.op not in ("placeholder", "call_function", "output") for node in graph.nodes):
            return None
        weights, constants = {}, {}
        for spec in signature.input_specs:
            if spec.kind in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
                target = str(spec.target)
                if target in names:
                    weights[spec.arg.name] = target
                else:
                    held = program.constants.get(target)
                    constants[spec.arg.name] = program.state_dict[target] if held is None else held
        kinds = [spec.kind for spec in signature.output_specs]
        results = [r for r, kind in zip(_results(graph), kinds, strict=True) if kind == OutputKind.USER_OUTPUT]
        return cls(
            tuple(_step(node) for node in graph.nodes if node.op == "call_function"),
            tuple(signature.user_inputs),
            weights,
            constants,
            tuple(result.name if isinstance(result, fx.Node) else None for result in results),
        )

    def run(
        self,
        weights: Mapping[str, Tensor],
        tensors: Sequence[Tensor],
        names: Mapping[str, str],
        on_value: OnValue,
    ) -> None:
        """Compute all values; nothing is traced.

        Args:
            weights: The module's state.
            tensors: The inputs.
            names: Names in the file by the names of the steps, for the values that the file has.
            on_value: Called with each of these values.
        """
        env: dict[str, Any] = dict(self.constants)
        env |= {name: weights[source] for name, source in self.weights.items()}
        held = set(env)
        env |= dict(zip(self.inputs, (t.clone() for t in tensors), strict=True))
        standing = dict(names)  # a value that the file lacks was merged into the one that it is computed from
        last = {name: step.name for step in self.steps for name in step.inputs}
        for step in self.steps:
            args, kwargs = fx.node.map_aggregate((step.args, step.kwargs), lambda a: _filled(a, env))
            env[step.name] = value = step.target(*args, **kwargs)
            above = {name for name in step.inputs if name not in held}
            if step.name not in names and len(above) == 1 and (owner := standing.get(above.pop())):
                standing[step.name] = owner
            if step.name in standing and isinstance(value, Tensor):
                on_value(standing[step.name], value)
            for name in step.inputs:
                if last[name] == step.name:
                    env.pop(name, None)


def _step(node: fx.Node) -> _Step:
    args, kwargs = fx.node.map_aggregate((node.args, node.kwargs), _reference)
    assert callable(node.target)
    return _Step(node.name, node.target, args, kwargs, tuple(n.name for n in node.all_input_nodes))


def _reference(argument: Any) -> Any:
    return _Result(argument.name) if isinstance(argument, fx.Node) else argument


def _results(graph: fx.Graph) -> Sequence[Any]:
    found: Sequence[Any] = graph.output_node().args[0]  # type: ignore[assignment]
    return found


def _filled(argument: Any, env: Mapping[str, Any]) -> Any:
    return env[argument.name] if isinstance(argument, _Result) else argument


@dataclasses.dataclass(frozen=True)
class Replay:
    """Finds a module's inner values by running the program that was translated, see ``InnerValues``.

    Attributes:
        program: The program.
        weights: Returns a module's weights by the names that the program knows.
        flat: A private copy with the exported weights.
    """

    program: Program
    weights: Callable[[FlatModule], Mapping[str, Tensor]]
    flat: FlatModule

    def __call__(self, graph: GraphProto, tensors: Sequence[Tensor], on_value: OnValue) -> None:
        """Run the program."""
        values = {name: name.removesuffix("__inner") for node in graph.node for name in node.output}
        by_step = {step: value for value, step in values.items()}
        for output, step in zip(reversed(graph.output), reversed(self.program.outputs), strict=True):
            if step is not None:
                by_step[step] = output.name
        with torch.no_grad(), self.flat.random_state_kept():
            self.program.run(self.weights(self.flat), tensors, by_step, on_value)
