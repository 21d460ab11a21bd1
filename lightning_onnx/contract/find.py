"""Finds the contract of a graph in the run: what the user says first, then what the data and the module know."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

from torch import Tensor, nn

from lightning_onnx.contract.given import Given
from lightning_onnx.contract.labels import Labels, find_labels
from lightning_onnx.contract.tokenizers import find_tokenizer
from lightning_onnx.contract.transforms import find_steps
from lightning_onnx.contract.values import activation_of, kind_of, range_of, settings_of
from lightning_onnx.errors import ConfigurationError
from lightning_onnx.manifest.contract import Contract, InputContract, OutputContract, Step
from lightning_onnx.module.calls.signature import Signature, TensorSpec


@dataclasses.dataclass(frozen=True)
class Known:
    """What knows something of inputs and outputs.

    Attributes:
        module: The module.
        loaders: The validation batches, as in ``Trainer.validate``.
        datamodule: Their ``LightningDataModule``, None without one.
        seen: Values of each input that were seen, by name.
        in_graph: What the graph itself does to a sample before the module.
        takes_raw: Whether the transforms of the data set are left to nobody: nothing comes before the graph, or what
            comes before is another graph.
    """

    module: nn.Module
    loaders: object
    datamodule: object
    seen: Mapping[str, Sequence[Tensor]]
    in_graph: tuple[Step, ...] = ()
    takes_raw: bool = False


def find_contract(given: Given, known: Known, signature: Signature) -> Contract:
    """Return what inputs and outputs mean, without running the module.

    Args:
        given: What the user says.
        known: Where to look.
        signature: The inputs and outputs of the graph.

    Raises:
        ConfigurationError: If the given labels fit no output, or a given range no input.
    """
    check_fits(given, signature)
    labels, outputs = _outputs(given, known, signature)
    return Contract(
        {spec.name: _input(spec, given, known) for spec in signature.inputs},
        outputs,
        _steps(given, known),
        settings_of(known.module) if given.settings is None else given.settings,
        None if known.takes_raw else find_tokenizer(known.loaders, (known.datamodule, known.module)),
        None if labels is None else labels.source,
    )


def check_fits(given: Given, signature: Signature) -> None:
    """Raise unless a graph has what the user says something of.

    Args:
        given: What the user says.
        signature: The inputs and outputs of the graph.

    Raises:
        ConfigurationError: If the given labels fit no output, or a given range no input.
    """
    unknown = sorted(given.ranges.keys() - {spec.name for spec in signature.inputs})
    if unknown:
        names = ", ".join(spec.name for spec in signature.inputs)
        raise ConfigurationError(f"contract['ranges'] names {unknown}, which are not inputs. The graph takes {names}.")
    if given.labels is not None and not _labelled(given.labels, signature, "softmax", is_given=True):
        raise ConfigurationError(
            f"labels has {len(given.labels)} names, but no output has a dim of this size, and there is not exactly "
            f"one of integers, whose values can be classes: {signature}. Give one name for each class."
        )


def _input(spec: TensorSpec, given: Given, known: Known) -> InputContract:
    seen = known.seen.get(spec.name, ())
    dtype = str(seen[0].dtype).removeprefix("torch.") if seen else spec.dtype
    return InputContract(dtype, given.ranges.get(spec.name) or range_of(seen))


def _steps(given: Given, known: Known) -> tuple[Step, ...]:
    if given.steps is not None:
        return (*(Step(text, text) for text in given.steps), *known.in_graph)
    return (*(() if known.takes_raw else find_steps(known.loaders)), *known.in_graph)


def _outputs(given: Given, known: Known, signature: Signature) -> tuple[Labels | None, dict[str, OutputContract]]:
    """Return the class names that fit an output, and the outputs that they fit."""
    found = (
        [Labels(given.labels, "labels")]
        if given.labels is not None
        else find_labels(known.module, known.datamodule, known.loaders)
    )
    for labels in found:
        outputs = _labelled(labels.names, signature, activation_of(known.module), is_given=given.labels is not None)
        if outputs:
            return labels, outputs
    return None, {}


def _labelled(
    labels: tuple[str, ...], signature: Signature, activation: str, *, is_given: bool
) -> dict[str, OutputContract]:
    """Return the outputs that class names fit: scores, and class indices, one a row.

    Class names that are given also fit a map of indices, or the best few of each row, as nothing else can be meant.
    """
    scores = {
        spec.name: OutputContract(labels, "scores", axis, "sigmoid" if activation == "sigmoid" else "softmax")
        for spec in signature.outputs
        if spec.dtype.startswith(("float", "bfloat")) and (axis := _axis(spec, len(labels))) is not None
    }
    integers = [spec for spec in signature.outputs if spec.dtype in ("int64", "int32")]
    whole = [spec for spec in integers if len(spec.shape) <= 1]
    if is_given and not scores and not whole:
        whole = integers
    indices = {spec.name: OutputContract(labels, "indices") for spec in whole} if len(whole) == 1 else {}
    return {**scores, **indices}


def _axis(spec: TensorSpec, classes: int) -> int | None:
    """Return the dim of the classes: the second one (of logits and of segmentations), or else the last."""
    places = [1, len(spec.shape) - 1]
    return next((i for i in places if 0 < i < len(spec.shape) and spec.shape[i] == classes), None)


def with_kinds(
    contract: Contract, outputs: Callable[[], Mapping[str, Tensor]], sigmoids: Collection[str] = ()
) -> Contract:
    """Return the contract with what the values of outputs say: whether they are probabilities already.

    Args:
        contract: A contract.
        outputs: Returns outputs of the module on some input, by name; called only if an output has class names.
        sigmoids: Names of the outputs that are the result of a sigmoid.
    """
    if not any(own.kind == "scores" for own in contract.outputs.values()):
        return contract
    values = outputs()
    changed = {
        name: _with_kind(own, values[name], name in sigmoids) if own.axis is not None and name in values else own
        for name, own in contract.outputs.items()
    }
    return dataclasses.replace(contract, outputs=changed)


def _with_kind(own: OutputContract, values: Tensor, is_sigmoid: bool) -> OutputContract:
    is_sigmoid = is_sigmoid or own.activation == "sigmoid"
    if own.axis is None or kind_of(values, own.axis, is_sigmoid=is_sigmoid) == "scores":
        return own
    return dataclasses.replace(own, kind="probabilities", activation=None)
