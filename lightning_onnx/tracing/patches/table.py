"""All that is replaced in torch, torchvision and Python while a trace runs, and the one place that replaces it.

The file is above 300 lines because it is one table with as many entries as there are patches.
"""

from __future__ import annotations

import builtins
import contextlib
import math
from collections.abc import Iterator

import torch
from torch.nn import functional

from lightning_onnx.module import autocast, fake_quantization
from lightning_onnx.tracing.patches import (
    convolutions,
    copies,
    decompositions,
    derivatives,
    flex_attention,
    functions,
    integers,
    item_writes,
    kernels,
    modules,
    packed_sequences,
    quiet,
    random_numbers,
    recurrent,
    repeated,
    torchvision,
)
from lightning_onnx.tracing.patches.patch import (
    Group,
    Patch,
    put_in,
    replaced_attribute,
    replaced_class_attribute,
    replaced_setting,
    switched,
)
from lightning_onnx.tracing.rules import frequencies

_TORCH = "torch 2.14"
_TORCHVISION = "torchvision 0.29"
_PRECAUTIONS = ("onnx_ir", "torch.export", "torch._export", "torch.utils._sympy.interp")


@contextlib.contextmanager
def patched(*groups: Group) -> Iterator[None]:
    """Put in the patches of some groups, and take them out again.

    Args:
        groups: The groups, in the order in which they are put in.
    """
    with put_in(*(patch for group in groups for patch in PATCHES if patch.group == group)):
        yield


@contextlib.contextmanager
def _after_listing(patch: Patch) -> Iterator[None]:
    """Replace a function of Python after dynamo has listed them: it lists them at first use, and would list ours."""
    from torch._dynamo.trace_rules import is_builtin_callable

    is_builtin_callable(getattr(builtins, patch.name))
    with replaced_attribute(patch):
        yield


def _pools() -> Iterator[Patch]:
    for kind, whole in {"max": functions.largest, "avg": functions.mean}.items():
        for dims in (1, 2, 3):
            name = f"{kind}_pool{dims}d"
            yield Patch(
                owner="torch.nn.functional",
                name=name,
                replacement=functions.pool(getattr(functional, name), whole, dims),
                why="The exporters write the kernel size as a constant, also where it is that of the whole input.",
                seen=_TORCH,
                case=f"{kind}_pool_of_the_whole_{dims}d",
            )


def _convolutions() -> Iterator[Patch]:
    for dims in (1, 2):
        for owner in ("torch", "torch.nn.functional"):
            name = f"conv{dims}d"
            yield Patch(
                owner=owner,
                name=name,
                replacement=convolutions.by_groups(getattr(torch, name), dims),
                why="The number of groups is an attribute in ONNX: one that is a size of the input cannot be written.",
                seen=_TORCH,
                case=f"{owner.rpartition('.')[2]}_{name}_by_groups",
            )


def _for_torch_and_tensors(name: str, replacement: object, why: str) -> Iterator[Patch]:
    for owner in ("torch", "torch:Tensor"):
        case = name if owner == "torch" else f"tensor_{name}"
        yield Patch(owner=owner, name=name, replacement=replacement, why=why, seen=_TORCH, case=case)


PATCHES: tuple[Patch, ...] = (
    Patch(
        owner="builtins",
        name="len",
        replacement=functions.length,
        why="The length of a tensor becomes a Python number, which makes the dim constant.",
        seen=_TORCH,
        case="length",
        replace=_after_listing,
    ),
    Patch(
        owner="math",
        name="sqrt",
        replacement=functions.of_size(math.sqrt, torch.sym_sqrt),
        why="A size becomes a Python number, which makes the dim constant.",
        seen=_TORCH,
        case="sqrt",
    ),
    Patch(
        owner="math",
        name="log",
        replacement=functions.of_size(math.log, functions.log),
        why="A size becomes a Python number, which makes the dim constant.",
        seen=_TORCH,
        case="log",
    ),
    *(
        Patch(
            owner="math",
            name=name,
            replacement=functions.of_size(getattr(math, name), functions.by_tensor(getattr(torch, name))),
            why="A size becomes a Python number, which makes the dim constant.",
            seen=_TORCH,
            case=name,
        )
        for name in ("log2", "log10", "exp")
    ),
    Patch(
        owner="torch",
        name="linspace",
        replacement=functions.linspace,
        why="A number of steps that is a size of the input makes the dim constant.",
        seen=_TORCH,
        case="linspace",
    ),
    *(
        Patch(
            owner="torch.fft",
            name=name,
            replacement=functions.of_size(getattr(torch.fft, name), replacement),
            why="A number of frequencies that is a size of the input makes the dim constant.",
            seen=_TORCH,
            case=name,
        )
        for name, replacement in {"fftfreq": frequencies.fftfreq, "rfftfreq": frequencies.rfftfreq}.items()
    ),
    *_for_torch_and_tensors(
        "chunk",
        functions.chunk,
        "The exporter writes a sequence, which many runtimes lack and on which constant folding fails.",
    ),
    *_for_torch_and_tensors(
        "tensor_split",
        functions.tensor_split,
        "Which parts are longer by one is decided for the traced size.",
    ),
    *_for_torch_and_tensors("diagonal", functions.diagonal, "An offset that is a size makes the dim constant."),
    *_for_torch_and_tensors("diag", functions.diag, "An offset that is a size makes the dim constant."),
    *_for_torch_and_tensors("cov", functions.cov, "torch reads the value of a tensor, to warn of too few columns."),
    *_for_torch_and_tensors("corrcoef", functions.corrcoef, "torch computes it by its own ``cov``."),
    Patch(
        owner="torch",
        name="vander",
        replacement=functions.vander,
        why="torch takes the number of rows as a Python number, which makes the dim constant.",
        seen=_TORCH,
        case="vander",
    ),
    Patch(
        owner="torch",
        name="istft",
        replacement=functions.istft,
        why="torch takes no symbolic length, and checks values.",
        seen=_TORCH,
        case="istft",
    ),
    Patch(
        owner="torch",
        name="rand",
        replacement="this and the others that take a generator, without it",
        why="Neither torch.export nor ONNX knows generators; a file draws numbers of its own anyway.",
        seen=_TORCH,
        case="own_generator",
        replace=random_numbers.without_generators,
    ),
    *_pools(),
    *_convolutions(),
    Patch(
        owner="torch._ops:OpOverload",
        name="py_kernels",
        replacement="those of recurrent layers give shapes",
        why="torch unrolls a recurrent layer to know its shapes, which makes a size that is read later constant.",
        seen=_TORCH,
        case="size_after_a_recurrent_layer",
        replace=recurrent.by_shapes,
    ),
    Patch(
        owner="torch._decomp",
        name="decomposition_table",
        replacement="those of recurrent layers give shapes",
        why="torch unrolls it once more when a program is rewritten.",
        seen=_TORCH,
        case="reshape_after_a_recurrent_layer",
        replace=recurrent.rewritten_by_shapes,
    ),
    Patch(
        owner="torch:autocast",
        name="__enter__",
        replacement=autocast.enter,
        why="The file computes in float32, also where the method turns on half precision by itself.",
        seen=_TORCH,
        case="autocast_by_the_method",
        replace=lambda patch: autocast.autocast_off(),
    ),
    Patch(
        owner="torch.distributions:Distribution",
        name="_validate_args",
        replacement=False,
        why="Distributions check the values of their parameters, which a trace does not have.",
        seen=_TORCH,
        case="distribution",
        replace=replaced_class_attribute,
    ),
    Patch(
        owner="torch.backends.mha",
        name="get_fastpath_enabled",
        replacement=modules.fast_path_is_off,
        why="Eval mode takes a fast path with operators and nested tensors that ONNX lacks.",
        seen=_TORCH,
        case="fast_path",
    ),
    Patch(
        owner="torch.nn.modules.transformer",
        name="_detect_is_causal_mask",
        replacement=modules.is_causal_as_told,
        why="torch compares a mask's values with those of a causal mask; without that the result is the same.",
        seen=_TORCH,
        case="causal_mask",
    ),
    Patch(
        owner="torch.nn:TransformerEncoder",
        name="forward",
        replacement=modules.encode,
        why="Without nested tensors, which ONNX lacks, the padding is not zero before the last norm.",
        seen=_TORCH,
        case="padded_encoder",
    ),
    Patch(
        owner="torch.nn.attention.flex_attention",
        name="flex_attention_hop",
        replacement=flex_attention.by_scores,
        why="ONNX lacks the operator, which takes functions.",
        seen=_TORCH,
        case="flexible_attention",
        optional=True,
    ),
    Patch(
        owner="torch.ao.quantization:FusedMovingAvgObsFakeQuantize",
        name="forward",
        replacement=fake_quantization.quantized,
        why="It decides by flags that are tensors, and observes, in one operator that ONNX lacks.",
        seen=_TORCH,
        case="fake_quantization",
        optional=True,
    ),
    Patch(
        owner="torch.nn:Module",
        name="to",
        replacement=modules.to,
        why="A trace cannot put other tensors into a module, not even equal ones.",
        seen=_TORCH,
        case="moved_module",
    ),
    Patch(
        owner="torchvision.ops.boxes:batched_nms",
        name="__code__",  # for modules that imported the function by its name, too
        replacement=torchvision.batched_nms,
        why="torchvision chooses between two algorithms by the number of boxes, which a trace does not know.",
        seen=_TORCHVISION,
        case="batched_nms",
        optional=True,
        replace=torchvision.replaced_code,
    ),
    Patch(
        owner="torchvision.models.detection.transform",
        name="_resize_image_and_masks",
        replacement=torchvision.resize_image,
        why="torchvision computes the new size in single precision when traced, off by one for some images.",
        seen=_TORCHVISION,
        case="resized_image",
        optional=True,
    ),
    Patch(
        owner="torchvision.models.detection.transform:GeneralizedRCNNTransform",
        name="batch_images",
        replacement=torchvision.batch_images,
        why="torchvision converts image sizes to Python numbers, which makes the dims constant.",
        seen=_TORCHVISION,
        case="batched_images",
        optional=True,
    ),
    Patch(
        owner="torch.onnx._internal.exporter._fx_passes",
        name="decompose_with_registry",
        replacement=decompositions.decompose,
        why="Operators that the exporter lacks or gets wrong would need a run of their own through the program.",
        seen=_TORCH,
        case="rules_are_applied",
    ),
    Patch(
        owner="torch.onnx._internal.exporter._registration:onnxscript_apis",
        name="get_torchlib_ops",
        replacement="its first result",
        why="The exporter parses the source of all its translations, which takes half the time of a small export.",
        seen=f"{_TORCH}, onnxscript 0.7",
        case="translations_are_parsed_once",
        replace=repeated.computed_once,
    ),
    Patch(
        owner="torch.onnx._internal.exporter._schemas",
        name="op_signature_from_function",
        replacement=repeated.signature_once,
        why="The exporter reads the signatures of all its translations, though it keeps each on its function.",
        seen=_TORCH,
        case="signatures_are_read_once",
    ),
    Patch(
        owner="torch._export.utils",
        name="_materialize_cpp_cia_ops",
        replacement="its first call",
        why="torch looks up all of its composite operators sixty times in an export.",
        seen=_TORCH,
        case="operators_are_listed_once",
        replace=repeated.called_once,
    ),
    Patch(
        owner="torch._ops:OperatorBase",
        name="py_impl",
        replacement=repeated.py_impl,
        why="torch evaluates annotations and compares keys for each of six thousand kernels that an export registers.",
        seen=_TORCH,
        case="kernels_are_only_stored",
    ),
    Patch(
        owner="torch.cuda",
        name="device_count",
        replacement="its first result",
        why="torch looks for the driver sixty times in an export.",
        seen=_TORCH,
        case="devices_are_counted_once",
        replace=repeated.called_once,
    ),
    Patch(
        owner="builtins",
        name="print",
        replacement=quiet.print_to_files,
        why="A trace runs the module many times, and its own prints with it.",
        seen=_TORCH,
        case="nothing_is_printed",
        group="quiet",
        replace=_after_listing,
    ),
    Patch(
        owner="warnings",
        name="filters",
        replacement=("ignore",),
        why="torch warns of its own deprecated calls, and of things that the checks of the artifact examine.",
        seen=_TORCH,
        case="no_warnings",
        group="quiet",
        replace=quiet.without_warnings,
    ),
    *(
        Patch(
            owner=logger,
            name="filters",
            replacement="only errors",
            why=why,
            seen=_TORCH,
            case=None if logger in _PRECAUTIONS else f"no_log_of_{logger.replace('.', '_')}",
            group="quiet",
            replace=quiet.only_errors,
        )
        for logger, why in {
            "torch.onnx": "It warns that opset 17 is converted from opset 18.",
            "onnxscript": "It warns of how an opset is converted, and of each operator that it does not fold.",
            "onnx_ir": "It can warn of initializers without a value; no export was seen that makes it.",
            "torch.export": "It can warn of deprecated dynamic shapes; no export was seen that makes it.",
            "torch._export": "It can warn of a dim that is traced at size 1; no export was seen that makes it.",
            "torch.utils._sympy.interp": "It warns of sizes that it cannot divide; seen with a resize of kornia.",
            "torch.fx.experimental.symbolic_shapes": "It warns of values that decide, before a trace is refused.",
        }.items()
    ),
    Patch(
        owner="torch._C",
        name="_jit_pass_onnx_peephole",
        replacement=packed_sequences.peephole,
        why="torch fails where only the final state of packed sequences is used, and the batch size is read from them.",
        seen=_TORCH,
        case="final_state_of_packed_sequences",
    ),
    Patch(
        owner="torch._VF",
        name="_pad_packed_sequence",
        replacement=packed_sequences.pad,
        why="Padded again, sequences are as long as the input instead of as the longest of them.",
        seen=_TORCH,
        case="sequences_padded_to_the_longest",
        group="torchscript",
    ),
    Patch(
        owner="torch.export.exported_program",
        name="_override_composite_implicit_decomp",
        replacement=kernels.override_decompositions,
        why="If Ctrl-C comes before all kernels are replaced, they stay replaced, and later traces fail.",
        seen=_TORCH,
        case="kernels_after_an_interrupt",
    ),
    Patch(
        owner="torch:Tensor",
        name="__deepcopy__",
        replacement=copies.deep_copy,
        why="torch.export finds no memory to copy, and a TorchScript trace copies it without what fills it.",
        seen=_TORCH,
        case="deep_copy",
    ),
    Patch(
        owner="torch:Tensor",
        name="__setitem__",
        replacement=item_writes.set_item,
        why="The TorchScript based exporter adds values that do not exist where ``...`` stands beside a tensor.",
        seen=_TORCH,
        case="write_beside_an_ellipsis",
        group="torchscript",
    ),
    Patch(
        owner="torch._C",
        name="onnx_log_enabled",
        replacement=False,
        why="Each export by TorchScript leaves on the log of graphs, which C++ writes to the process's stdout.",
        seen=_TORCH,
        case="no_graph_after_an_export_by_torchscript",
        group="quiet",
        replace=switched(torch._C._jit_is_onnx_log_enabled, torch._C._jit_set_onnx_log_enabled),
    ),
    Patch(
        owner="torch._C",
        name="_jit_set_onnx_log_enabled",
        replacement=quiet.do_nothing,
        why="The TorchScript based exporter turns on the log of graphs, which C++ writes to the process's stdout.",
        seen=_TORCH,
        case="no_graph",
        group="quiet",
    ),
    Patch(
        owner="torch._functorch.config",
        name="fake_tensor_propagate_real_tensors",
        replacement=True,
        why="torch refuses a module that decides by values; here those of the traced call decide.",
        seen=_TORCH,
        case="decision_by_a_value",
        group="traced_values",
        replace=replaced_setting,
    ),
    Patch(
        owner="torch._subclasses.fake_utils",
        name="_check_fake_real_tensors",
        replacement=quiet.do_nothing,
        why="torch compares sizes and offsets with those of the traced call, which makes them constant.",
        seen=_TORCH,
        case="offset_by_a_size",
        group="traced_values",
    ),
    Patch(
        owner="builtins",
        name="int",
        replacement=integers.Integer,
        why="Python's own ``int`` cannot return a symbol, so that a number computed from values becomes a constant.",
        seen="Python 3.11",
        case="int_of_a_tensor",
        group="symbolic_int",
        replace=integers.replaced_in_functions,
    ),
    *(
        Patch(
            owner="torch.autograd",
            name=name,
            replacement=replacement,
            why="Nothing in torch tells whether a method calls autograd.",
            seen=_TORCH,
            case=f"derivative_by_{name}",
            group="derivatives",
        )
        for name, replacement in {"grad": derivatives.grad, "backward": derivatives.backward}.items()
    ),
)
"""The patches, in the order in which those of a group are put in."""
