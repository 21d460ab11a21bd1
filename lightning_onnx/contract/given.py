"""The options ``labels`` and ``contract``: what the user says of inputs and outputs, in place of what is found."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TypedDict

from lightning_onnx.contract.labels import without_surrogates
from lightning_onnx.contract.values import finite
from lightning_onnx.errors import ConfigurationError, did_you_mean


class ContractOptions(TypedDict, total=False):
    """What ``contract={...}`` may say.

    Attributes:
        steps: What the caller has to do to a sample before the model runs, in order, as instructions.
        ranges: The smallest and largest value of inputs, by name.
        settings: Thresholds and such, by name.
    """

    steps: Sequence[str]
    ranges: Mapping[str, Sequence[float]]
    settings: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Given:
    """What the user says; None for what is to be found.

    Attributes:
        labels: The class names.
        steps: Instructions to the caller.
        ranges: The range of inputs, by name.
        settings: Thresholds and such.
    """

    labels: tuple[str, ...] | None = None
    steps: tuple[str, ...] | None = None
    ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    settings: Mapping[str, float] | None = None


def check_given(labels: object, contract: object) -> Given | None:
    """Return what the options say; None if ``contract`` is False.

    Args:
        labels: The option ``labels``.
        contract: The option ``contract``.

    Raises:
        ConfigurationError: If one of them is invalid.
    """
    if labels is not None and not _are_texts(labels):
        raise ConfigurationError(f"labels={labels!r} is not a list of class names. Give one such as ['cat', 'dog'].")
    if contract is False:
        if labels is not None:
            raise ConfigurationError("labels are part of the contract, and contract=False. Leave one of them out.")
        return None
    if contract is not None and not isinstance(contract, Mapping):
        raise ConfigurationError(
            f"contract={contract!r} is neither a dict nor False. Give one such as {{'steps': ['divide by 255']}}."
        )
    values = dict(contract or {})
    known = ("steps", "ranges", "settings")
    for name in values:
        if name not in known:
            raise ConfigurationError(
                f"contract has the key {name!r}{did_you_mean(name, known)} Choose from {', '.join(known)}."
            )
    steps, ranges, settings = values.get("steps"), values.get("ranges", {}), values.get("settings")
    if steps is not None and not _are_texts(steps):
        raise ConfigurationError(f"contract['steps']={steps!r} is not a list of texts. Give ['divide by 255'].")
    if not isinstance(ranges, Mapping) or not all(_is_range(limits) for limits in ranges.values()):
        raise ConfigurationError(
            f"contract['ranges']={ranges!r} is not the smallest and largest value of inputs, by name. Give "
            "{'images': [0, 1]}."
        )
    if settings is not None and not (isinstance(settings, Mapping) and all(map(_is_finite, settings.values()))):
        raise ConfigurationError(
            f"contract['settings']={settings!r} is not finite numbers by name. Give {{'threshold': 0.5}}."
        )
    return Given(
        None if labels is None else tuple(map(without_surrogates, labels)),  # type: ignore[call-overload]
        None if steps is None else tuple(map(without_surrogates, steps)),
        {str(name): (float(low), float(high)) for name, (low, high) in ranges.items()},
        None if settings is None else {str(name): float(value) for name, value in settings.items()},
    )


def _are_texts(value: object) -> bool:
    return isinstance(value, (list, tuple)) and bool(value) and all(isinstance(text, str) for text in value)


def _is_range(value: object) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_finite, value)) and value[0] <= value[1]


def _is_finite(value: object) -> bool:
    return finite(value) is not None
