"""What clients of an artifact notice when another one replaces it: its inputs, its outputs, and what they mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_onnx.manifest.contract import Contract, OutputContract
from lightning_onnx.manifest.manifest import Manifest
from lightning_onnx.module.calls.signature import Signature, SizeRange, TensorSpec

_MOST = 3
"""The most class names that a sentence tells."""


def meaning(contract: Contract | None) -> dict[str, Any]:
    """Return what a contract says, in plain values by what it is about; empty if there is none."""
    if contract is None:
        return {}
    found: dict[str, Any] = {"steps of the caller": list(contract.caller_steps)}
    found["steps of the graph"] = [step.sentence for step in contract.steps if step.in_graph]
    found |= {f"range of {name}": list(own.range) for name, own in contract.inputs.items() if own.range is not None}
    for name, output in contract.outputs.items():
        found |= {f"class names of {name}": list(output.labels), f"kind of {name}": output.kind}
        found |= {f"class dim of {name}": output.axis, f"activation of {name}": output.activation}
    return found | {f"setting {name}": value for name, value in contract.settings.items()}


def incompatible(first: Manifest, second: Manifest) -> list[str]:
    """Return why clients of the first cannot use the second as it is, a clause for each reason.

    What either of the two does not say is no reason: an artifact without a contract is compared by its signature.
    """
    found = [*_signatures(first.signature, second.signature)]
    if first.contract is not None and second.contract is not None:
        found += _contracts(first.contract, second.contract)
    return found


def _signatures(first: Signature, second: Signature) -> Iterator[str]:
    inputs, outputs = ({spec.name: spec for spec in own} for own in (second.inputs, second.outputs))
    for spec in first.inputs:
        yield from _differs(f"input {spec.name}", spec, inputs.get(spec.name))
    yield from (f"input {name} is new" for name in inputs if name not in {spec.name for spec in first.inputs})
    for spec in first.outputs:
        yield from _differs(f"output {spec.name}", spec, outputs.get(spec.name))
    for what, before, now in (("inputs", first.inputs, inputs), ("outputs", first.outputs, outputs)):
        names = [spec.name for spec in before if spec.name in now]
        if names != [name for name in now if name in names]:
            yield f"the {what} have another order"
    yield from _sizes(first, second)


def _differs(what: str, before: TensorSpec, now: TensorSpec | None) -> Iterator[str]:
    if now is None:
        yield f"{what} is missing"
        return
    if before.dtype != now.dtype:
        yield f"{what} is {now.dtype} instead of {before.dtype}"
    if len(before.shape) != len(now.shape):
        yield f"{what} has {len(now.shape)} dims instead of {len(before.shape)}"
        return
    for i, (was, size) in enumerate(zip(before.shape, now.shape, strict=True)):
        if isinstance(was, int) and isinstance(size, int) and was != size:
            yield f"dim {i} of {what} is {size} instead of {was}"


def _sizes(first: Signature, second: Signature) -> Iterator[str]:
    """Yield the dims of inputs that took sizes which they do not take any more."""
    inputs = {spec.name: spec for spec in second.inputs}
    for spec in first.inputs:
        now = inputs.get(spec.name)
        if now is None or len(now.shape) != len(spec.shape):
            continue
        for i, (was, size) in enumerate(zip(spec.shape, now.shape, strict=True)):
            before, after = _range_of(was, first), _range_of(size, second)
            if isinstance(was, int) and isinstance(size, int):
                continue  # said already
            if before.min < after.min or (after.max is not None and (before.max is None or before.max > after.max)):
                yield f"dim {i} of input {spec.name} takes {_sized(after)} instead of {_sized(before)}"


def _range_of(dim: int | str, signature: Signature) -> SizeRange:
    return SizeRange(dim, dim) if isinstance(dim, int) else signature.ranges.get(dim, SizeRange())


def _sized(sizes: SizeRange) -> str:
    return f"only {sizes.min}" if sizes.min == sizes.max else str(sizes)


def _contracts(first: Contract, second: Contract) -> Iterator[str]:
    if first.caller_steps != second.caller_steps:
        before, now = (", ".join(own.caller_steps) or "nothing" for own in (first, second))
        yield f"the caller has to do other steps: {now} instead of {before}"
    for name, output in first.outputs.items():
        if name in second.outputs:
            yield from _outputs(name, output, second.outputs[name])


def _outputs(name: str, before: OutputContract, now: OutputContract) -> Iterator[str]:
    if before.kind != now.kind:
        yield f"output {name} holds {now.kind} instead of {before.kind}"
    elif before.kind == "scores" and before.activation != now.activation:
        yield f"the activation of output {name} is {now.activation or 'none'} instead of {before.activation or 'none'}"
    if before.axis != now.axis:
        yield f"the classes of output {name} are in dim {now.axis} instead of {before.axis}"
    yield from _labels(name, before.labels, now.labels)


def _labels(name: str, before: tuple[str, ...], now: tuple[str, ...]) -> Iterator[str]:
    """Yield how the class names of an output differ; more of them at the end are told by the output's size."""
    if not before or not now:
        return
    other = [(i, was, label) for i, (was, label) in enumerate(zip(before, now, strict=False)) if was != label]
    if other:
        how = "have another order" if sorted(before) == sorted(now) else "differ"
        some = ", ".join(f"class {i} is {label} instead of {was}" for i, was, label in other[:_MOST])
        more = f" and {len(other) - _MOST} more" if len(other) > _MOST else ""
        yield f"the class names of output {name} {how}: {some}{more}"
    elif len(before) != len(now):
        yield f"output {name} has {len(now)} class names instead of {len(before)}"


def changed_meaning(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two results of ``meaning``: the value of each, None where one has none."""
    pairs = {name: (first.get(name), second.get(name)) for name in dict.fromkeys([*first, *second])}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
