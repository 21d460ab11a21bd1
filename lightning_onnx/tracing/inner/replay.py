"""A captured program without its weights, kept to be run again: what torch computes on the way, by name.

``torch.onnx.verification`` does the same, with a program that holds the weights it was captured with, and for graphs
that nobody optimized: it asks for each value of torch in the file, by its name, and starts a session for each. Here
operators that the optimizer has merged into others are known, and all values come out of one run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.export.graph_signature import InputKind, OutputKind

from lightning_onnx.module.inner_values import OnValue


@dataclasses.dataclass(frozen=True)
class _Of:
    """Stands for the result of a step."""

    name: str


class _Step(NamedTuple):
    name: str
    target: Callable[..., Any]
    args: Any
    kwargs: Any
    inputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Program:
    """The steps of a program; neither its tensors nor what torch notes on its nodes, which holds much memory.

    Attributes:
        steps: In order.
        inputs: Names of the inputs.
        weights: Names in the module's state, by their names here.
        constants: Tensors that are the same for all weights.
        outputs: Names of the outputs.
    """

    steps: tuple[_Step, ...]
    inputs: tuple[str, ...]
    weights: Mapping[str, str]
    constants: Mapping[str, Tensor]
    outputs: tuple[str | None, ...]

    @classmethod
    def of(cls, program: torch.export.ExportedProgram, names: Collection[str]) -> Program | None:
        """Take a program apart; None where it has branches or loops, which torch would compile to run them.

        Args:
            program: The program that was translated.
            names: Those of the module's weights.
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
        take: OnValue,
    ) -> None:
        """Compute all values; nothing is traced.

        Args:
            weights: The module's state.
            tensors: The inputs.
            names: How the file names the values that it has.
            take: Is told them.
        """
        env: dict[str, Any] = dict(self.constants)
        env |= {name: weights[source] for name, source in self.weights.items()}
        held = set(env)
        env |= dict(zip(self.inputs, (t.clone() for t in tensors), strict=True))
        standing = dict(names)  # what the file lacks was merged into the value that it is computed of
        last = {name: step.name for step in self.steps for name in step.inputs}
        for step in self.steps:
            args, kwargs = fx.node.map_aggregate((step.args, step.kwargs), lambda a: _filled(a, env))
            env[step.name] = value = step.target(*args, **kwargs)
            above = {name for name in step.inputs if name not in held}
            if step.name not in names and len(above) == 1 and (owner := standing.get(above.pop())):
                standing[step.name] = owner
            if step.name in standing and isinstance(value, Tensor):
                take(standing[step.name], value)
            for name in step.inputs:
                if last[name] == step.name:
                    env.pop(name, None)


def _step(node: fx.Node) -> _Step:
    args, kwargs = fx.node.map_aggregate((node.args, node.kwargs), _referring)
    assert callable(node.target)
    return _Step(node.name, node.target, args, kwargs, tuple(n.name for n in node.all_input_nodes))


def _referring(argument: Any) -> Any:
    return _Of(argument.name) if isinstance(argument, fx.Node) else argument


def _results(graph: fx.Graph) -> Sequence[Any]:
    found: Sequence[Any] = graph.output_node().args[0]  # type: ignore[assignment]
    return found


def _filled(argument: Any, env: Mapping[str, Any]) -> Any:
    return env[argument.name] if isinstance(argument, _Of) else argument
