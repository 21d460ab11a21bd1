"""The ways from torch to ONNX, what serves which opset, and what each cannot do."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Protocol
from unittest import mock

import torch

from lightning_onnx import decompositions, folding, numbers, sizes
from lightning_onnx.derivatives import Differentiated
from lightning_onnx.errors import EngineError, NeedlessError, chain, first_line
from lightning_onnx.flat import FlatModule, to_numpy
from lightning_onnx.folding import Recipe
from lightning_onnx.lowered import Lowered
from lightning_onnx.replay import Program
from lightning_onnx.shortcuts import traceable
from lightning_onnx.signature import Request
from lightning_onnx.weights import state


@dataclasses.dataclass(frozen=True)
class Fixed:
    """A dim that was asked to be dynamic and that the module's code makes constant.

    Attributes:
        dim: Its name.
        size: The constant.
        where: File name and line that fixed it, where it was found.
    """

    dim: str
    size: int
    where: str | None = None


@dataclasses.dataclass(frozen=True)
class Made:
    """A model of an engine, before names are given.

    Attributes:
        model: An ``onnx_ir.Model``.
        recipes: How the values of each initializer are made, by name.
    """

    model: Any
    recipes: Mapping[str, Recipe]


@dataclasses.dataclass(frozen=True)
class Traced:
    """What an engine returns: a source of ONNX models with given weights, and what it found out about the dims.

    Attributes:
        engine: Name of the engine.
        first: The model made by tracing.
        model: Makes a model for other weights of a module of the same structure; None where ``first`` serves all
            weights, by its recipes.
        values: Gives the weights that the recipes name, those that are computed of others included.
        symbols: The engine's own symbols by the names of the dims that they stand for.
        fixed: Dims that came out constant.
        relations: What the sizes must keep, for people.
        unused: Places of inputs that the graph does not use.
        program: What was translated, to be run again where the file is wrong; None where it cannot be.
    """

    engine: str
    first: Made
    model: Callable[[FlatModule], Made] | None = None
    values: Callable[[FlatModule], Mapping[str, torch.Tensor]] = state
    symbols: Mapping[str, str] = dataclasses.field(default_factory=dict)
    fixed: tuple[Fixed, ...] = ()
    relations: tuple[str, ...] = ()
    unused: tuple[int, ...] = ()
    program: Program | None = None


class Engine(Protocol):
    """A way from torch to ONNX."""

    name: str
    decides: bool
    """Whether the traced values decide where the method does so by values; only for methods that no other takes."""

    def trace(self, module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Traced:
        """Trace a module.

        Args:
            module: A private copy with its weights.
            request: Names, traced tensors and dynamic dims.
            opset_version: The opset that the model must have.
            options: Further keywords of ``torch.onnx.export``.

        Raises:
            EngineError: If the engine cannot translate the module, or not at this opset; torch's error is its cause.
        """


_OURS = ("export_params", "keep_initializers_as_inputs")
"""Options that the graph carries out, the same for both engines; torch's engines differ in what they make of them."""


def _torchs(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _OURS}


Capture = Literal["export", "exporter", "strict", "values", "numbers", "lowered", "derivatives"]


class DynamoEngine:
    """``torch.onnx.export(dynamo=True)``, traced once; new weights are put into a clone of the untouched graph.

    Args:
        capture: ``"export"`` captures with ``torch.export.export`` first, which keeps LSTM and GRU as one operator.
            ``"exporter"`` leaves it to the exporter, which unrolls them into loops, but assumes less of sizes 0 and 1
            and tries harder. ``"strict"`` reads the module's bytecode, and so follows ``int`` and ``float`` of a size,
            which else fix it. ``"values"`` is strict and decides by the traced values where torch cannot know, and
            ``"numbers"`` does that without reading bytecode, see ``lightning_onnx.numbers``. ``"lowered"`` runs the
            captured program anew, see ``lightning_onnx.lowered``, ``"derivatives"`` a trace below autograd, see
            ``lightning_onnx.derivatives``.
    """

    name = "dynamo"

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.decides = capture in ("values", "numbers")

    def trace(self, module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Traced:
        """See ``Engine.trace``."""
        dynamic = (tuple(dict.fromkeys(axes, torch.export.Dim.AUTO) for axes in request.axes),)
        values: Callable[[FlatModule], dict[str, torch.Tensor]] = state
        with _tracing(self.name):
            if self.capture != "exporter":
                source = Differentiated(module, request.tensors) if self.capture == "derivatives" else module
                with _by_values(self.capture) if self.decides else contextlib.nullcontext():
                    strict = self.capture in ("strict", "values")
                    captured = _captured(source, request.tensors, dynamic, strict)
                if self.decides:
                    _forget_values(captured)
                if self.capture == "lowered":
                    runs = Lowered(module, captured.run_decompositions())
                    captured, values = _captured(runs, request.tensors, dynamic), runs.values
                call: dict[str, Any] = {"model": decompositions.for_every_size(captured)}
            else:
                call = {"model": module, "args": request.tensors, "dynamic_shapes": dynamic}
            further = _torchs(options)
            further["custom_translation_table"] = sizes.translations() | (further.get("custom_translation_table") or {})
            program = torch.onnx.export(
                **call, dynamo=True, opset_version=opset_version, optimize=False, verbose=False, **further
            )
        assert program is not None
        assert program.exported_program is not None
        written = program.model.graph.opset_imports.get("")
        if written != opset_version:
            raise EngineError(f"engine 'dynamo' wrote opset {written} where {opset_version} was asked for")
        symbols, fixed, relations, unused = _dims_of(program.exported_program, request)
        if fixed:
            found = _where_fixed(module, request, dynamic)
            fixed = [dataclasses.replace(f, where=found.get(f.dim)) for f in fixed]

        with _tracing(self.name):
            weights = values(module)
            made = Made(*_optimized(program, weights, fold=options.get("export_params", True)))
            replayed = Program.of(program.exported_program, weights)
        return Traced(self.name, made, None, values, symbols, tuple(fixed), tuple(relations), tuple(unused), replayed)


def _optimized(program: torch.onnx.ONNXProgram, weights: Collection[str], fold: bool) -> tuple[Any, dict[str, Recipe]]:
    """Optimize a graph for all weights at once: they are inputs while torch's optimizer looks at it."""
    graph = program.model.graph
    values = {name: graph.initializers.pop(name) for name in list(graph.initializers) if name in weights}
    for value in values.values():
        value.const_value = None
        graph.inputs.append(value)
    program.optimize()
    for name, value in values.items():
        graph.inputs.remove(value)
        graph.initializers[name] = value
    return program.model, folding.recipes(program.model, values, fold)


@contextlib.contextmanager
def _by_values(capture: Capture) -> Iterator[None]:
    """Let the traced values decide what torch cannot know of a size that depends on values.

    Is a number of graphs 1, and is to be broadcast? What comes out is compared at other sizes like any other graph.
    """
    import torch._functorch.config
    from torch._subclasses import fake_utils

    with (
        torch._functorch.config.patch(fake_tensor_propagate_real_tensors=True),
        # It compares sizes and offsets with the traced ones, which fixes them: the second of two rows lies at a size.
        mock.patch.object(fake_utils, "_check_fake_real_tensors", _unchecked),
        numbers.symbolic() if capture == "numbers" else contextlib.nullcontext(),
    ):
        yield


def _unchecked(*args: Any, **kwargs: Any) -> None:
    return None


def _forget_values(program: torch.export.ExportedProgram) -> None:
    """Rules that run later compute no real values, and would miss them."""
    for node in program.graph.nodes:
        for value in torch.utils._pytree.tree_leaves(node.meta.get("val")):
            mode = getattr(value, "fake_mode", None)
            if mode is not None:
                mode.propagate_real_tensors = False
                return


def _captured(
    module: torch.nn.Module, tensors: tuple[torch.Tensor, ...], dynamic: Any, strict: bool = False
) -> torch.export.ExportedProgram:
    return torch.export.export(
        module,
        tensors,
        dynamic_shapes=dynamic,
        strict=strict,
        prefer_deferred_runtime_asserts_over_guards=True,
    )


class TorchScriptEngine:
    """``torch.onnx.export(dynamo=False)``: lower opsets and some modules that the other engine cannot translate.

    It merges parameters that are equal and has no graph to refresh, so each model is exported anew.
    """

    name = "torchscript"
    decides = False  # it does, and takes all methods

    def trace(self, module: FlatModule, request: Request, opset_version: int, options: Mapping[str, Any]) -> Traced:
        """See ``Engine.trace``."""
        import onnx_ir as ir

        def model(weights: FlatModule) -> Made:
            with tempfile.TemporaryDirectory() as directory, _tracing(self.name):
                path = Path(directory) / "model.onnx"
                torch.onnx.export(
                    weights,
                    request.tensors,
                    str(path),
                    dynamo=False,
                    opset_version=opset_version,
                    input_names=list(request.input_names),
                    output_names=list(request.output_names),
                    dynamic_axes={n: dict(a) for n, a in zip(request.input_names, request.axes, strict=True) if a},
                    **_torchs(options),
                )
                made = _all_inputs(ir.external_data.load_to_model(ir.load(path)), request)
            constants = {name: folding.Constant(v.const_value) for name, v in made.graph.initializers.items()}
            return Made(made, constants)

        first = model(module)
        written = first.model.graph.opset_imports.get("")
        if written != opset_version:
            raise EngineError(f"engine 'torchscript' wrote opset {written} where {opset_version} was asked for")
        names = {value.name: value for value in first.model.graph.inputs}
        unused = [i for i, n in enumerate(request.input_names) if not names[n].uses()]
        return Traced(self.name, first, model, unused=tuple(unused))


ENGINES: dict[str, list[Engine]] = {
    "dynamo": [
        DynamoEngine("export"),
        DynamoEngine("exporter"),
        DynamoEngine("strict"),
        DynamoEngine("values"),
        DynamoEngine("numbers"),
        DynamoEngine("lowered"),
        DynamoEngine("derivatives"),
    ],
    "torchscript": [TorchScriptEngine()],
}
"""By name; several ways of one engine are tried in this order."""


def _all_inputs(model: Any, request: Request) -> Any:
    """Put back the inputs that the TorchScript based exporter leaves out because nothing depends on them."""
    import onnx_ir as ir

    known = {value.name: value for value in model.graph.inputs}
    model.graph.inputs.clear()
    for name, tensor in zip(request.input_names, request.tensors, strict=True):
        type_ = ir.TensorType(ir.DataType.from_numpy(to_numpy(tensor).dtype))
        model.graph.inputs.append(known.get(name) or ir.Value(name=name, type=type_))
    return model


TAKES: dict[str, frozenset[str]] = {
    "dynamo": frozenset({"custom_translation_table"}),
    "torchscript": frozenset({"autograd_inlining", "custom_opsets", "do_constant_folding", "operator_export_type"}),
}
"""Keywords of ``torch.onnx.export`` that one engine alone takes."""


def order(engine: str, opset_version: int, options: Collection[str] = ()) -> list[Engine]:
    """Return the engines to try, in order.

    ``"auto"`` prefers the torch.export based engine, at opset 17 as well, and the TorchScript based one below. Engines
    that do not take all of ``options`` are left out.
    """
    names = [engine] if engine != "auto" else ["torchscript"] if opset_version < 17 else ["dynamo", "torchscript"]
    refused = frozenset().union(*TAKES.values())
    return [e for name in names if not (set(options) & refused) - TAKES[name] for e in ENGINES[name]]


def failure(errors: Sequence[EngineError]) -> EngineError:
    """Merge what the engines said into one error, shortest cause first."""
    told = [e for e in errors if not isinstance(e.__cause__, NeedlessError)] or errors
    causes = sorted({str(e) for e in told}, key=len)
    operator = next(
        (m.group(0) for c in causes for m in [re.search(r"\b(?:aten|prim|torchvision)::?[\w.:]+", c)] if m), None
    )
    at_fault = f" The operator at fault is {operator}." if operator else ""
    merged = EngineError(
        "the module cannot be exported to ONNX.\n  "
        + "\n  ".join(causes)
        + f"\n{at_fault} Rewrite that part of the method for tracing, export another method (method=...), another "
        "opset (opset_version=...), or give own translations (export_options={'custom_translation_table': ...})."
    )
    merged.__cause__ = told[0].__cause__ or told[0]
    return merged


@contextlib.contextmanager
def _tracing(engine: str) -> Iterator[None]:
    """All that an exporter runs under."""
    with _quiet(), _named(engine), traceable(), torch.no_grad():
        yield


@contextlib.contextmanager
def _named(engine: str) -> Iterator[None]:
    """Turn whatever torch raises into an EngineError that names the innermost cause."""
    try:
        yield
    except Exception as error:
        innermost = chain(error)[-1]
        raise EngineError(f"engine '{engine}': {first_line(innermost)}") from error


_LOGGERS = (
    "torch.onnx",
    "onnxscript",
    "onnx_ir",
    "torch.export",
    "torch._export",
    "torch.fx.experimental.symbolic_shapes",
)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch's exporters from printing: what matters of it is in the errors and in the manifest."""
    loggers = [logging.getLogger(n) for n in _LOGGERS]
    levels = [logger.level for logger in loggers]
    nowhere = io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.redirect_stdout(nowhere))
        stack.enter_context(contextlib.redirect_stderr(nowhere))
        # the TorchScript based exporter turns its log of graphs on, which C++ writes to the process's stdout
        torch._C._jit_set_onnx_log_enabled(False)
        stack.enter_context(mock.patch.object(torch._C, "_jit_set_onnx_log_enabled", return_value=None))
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


# What torch.export found out about the dims ------------------------------------------------------------------------


def _dims_of(
    program: torch.export.ExportedProgram, request: Request
) -> tuple[dict[str, str], list[Fixed], list[str], list[int]]:
    """Read from an ExportedProgram: symbols by dim, dims that are constant, relations, unused inputs."""
    user_inputs = set(program.graph_signature.user_inputs)
    placeholders = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in user_inputs]
    ranges = {str(symbol): r for symbol, r in program.range_constraints.items()}
    symbols: dict[str, str] = {}
    fixed: dict[str, Fixed] = {}
    relations: list[str] = []
    expressions: list[tuple[str, str]] = []
    for node, axes in zip(placeholders, request.axes, strict=True):
        for d, name in axes.items():
            size: Any = node.meta["val"].shape[d]  # an int or a SymInt
            limits = ranges.get(str(size))
            if isinstance(size, int):
                fixed[name] = Fixed(name, size)
            elif limits is not None and limits.lower == limits.upper:
                fixed[name] = Fixed(name, int(limits.lower))
            elif str(size).isidentifier():
                if symbols.setdefault(str(size), name) != name:
                    relations.append(f"{name} equals {symbols[str(size)]}")
            else:
                expressions.append((name, str(size)))
    for name, expression in expressions:
        relations.append(f"{name} = {_renamed(expression, symbols)}")
    unused = [i for i, node in enumerate(placeholders) if not node.users]
    return symbols, list(fixed.values()), list(dict.fromkeys(relations)), unused


def _renamed(expression: str, symbols: Mapping[str, str]) -> str:
    return re.sub(r"\b[A-Za-z_]\w*\b", lambda m: symbols.get(m[0], m[0]), expression)


class _GuardFilter(logging.Filter):
    """Notes from which line of the user's code each "size is constant" guard comes, and keeps the log quiet."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols: dict[str, tuple[int, int]] = {}
        self.where: dict[str, str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        created = re.match(r"create_symbol (\w+) = .* for L\['tensors'\]\[(\d+)\]\.size\(\)\[(\d+)\]", message)
        if created:
            self.symbols[created[1]] = (int(created[2]), int(created[3]))
        fixed = re.search(r"(?:Eq\((\w+), \d+\) \[guard added\]|set_replacement (\w+) = \d+ )", message)
        if fixed:
            place = _user_frame()
            if place:
                self.where.setdefault(fixed[1] or fixed[2], place)
        return False


def _user_frame() -> str | None:
    """Return ``file:line`` of the innermost running frame that is neither torch's nor this package's."""
    frame: FrameType | None = sys._getframe()
    own = (str(Path(torch.__file__).parent), str(Path(__file__).parent), str(Path(logging.__file__).parent))
    while frame is not None:
        filename = frame.f_code.co_filename
        if not filename.startswith(own) and not filename.startswith("<"):
            return f"{Path(filename).name}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def _where_fixed(module: FlatModule, request: Request, dynamic: Any) -> dict[str, str]:
    """Trace once more, listening to torch's log of guards, and return the line that fixed each dim where it tells."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")
    listener, level = _GuardFilter(), logger.level
    logger.addFilter(listener)
    try:
        with contextlib.suppress(Exception), _tracing("dynamo"):
            logger.setLevel(logging.INFO)  # _tracing has silenced it
            torch.export.export(module, request.tensors, dynamic_shapes=dynamic, strict=False)
    finally:
        logger.setLevel(level)
        logger.removeFilter(listener)
    found = {}
    for symbol, (tensor, dim) in listener.symbols.items():
        name = request.axes[tensor].get(dim)
        if name is not None and symbol in listener.where:
            found[name] = listener.where[symbol]
    return found
