"""What values say of inputs and outputs: ranges that are not values of the data, and which scores are probabilities."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lightning_onnx.manifest.contract import Activation, Kind

_SETTING = re.compile(r"(?i)(^|_)(threshold|thresh|temperature|cutoff|cut_off)s?($|_)")
_CODES = 1000
"""Integers below this are codes or counts; their largest is in the synthetic test data too."""

_COMMON = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
_LIBRARIES = ("torch.", "torchmetrics.", "lightning.", "pytorch_lightning.")


def range_of(tensors: Sequence[Tensor]) -> tuple[float, float] | None:
    """Return between which numbers the values lie, rounded outwards; None if there are no finite numbers.

    A common range (0 to 1, -1 to 1, 0 to 255) is named if the values use most of it, otherwise both ends have one
    digit: the smallest and largest value themselves are data. Integers below 1000 are codes or counts, for which a
    rounded number may not exist: both ends are as they were seen.

    Args:
        tensors: The values that were seen.

    Example:
        >>> range_of([torch.tensor([0.02, 0.97])]), range_of([torch.tensor([-2.117, 2.64])])
        ((0.0, 1.0), (-3.0, 3.0))
    """
    numbers = [t for t in tensors if t.numel() and t.layout is torch.strided and not t.is_complex()]
    if not numbers or any(t.dtype == torch.bool for t in numbers):
        return None
    if all(t.dtype == torch.uint8 for t in numbers):
        return 0.0, 255.0
    if not any(t.is_floating_point() for t in numbers):
        ends = min(int(t.min()) for t in numbers), max(int(t.max()) for t in numbers)
        if max(map(abs, ends)) < _CODES and not 0 <= ends[0] <= ends[1] <= 1:
            return float(ends[0]), float(ends[1])
    low, high = min(float(t.min()) for t in numbers), max(float(t.max()) for t in numbers)
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    for least, most in _COMMON:
        if least <= low and high <= most and high > most / 2 and (least == 0 or low < least / 2):
            return least, most
    return 0.0 - _up(-low), _up(high)  # without -0.0


def _up(value: float) -> float:
    """Return the next number with one digit."""
    if value == 0:
        return 0.0
    unit = 10.0 ** math.floor(math.log10(abs(value)))
    return float(f"{math.ceil(value / unit) * unit:.0e}")


def settings_of(module: nn.Module) -> dict[str, float]:
    """Return thresholds, temperatures and the like among the attributes and hyperparameters of a module.

    Args:
        module: The module.
    """
    found: dict[str, float] = {}
    for prefix, part in module.named_modules():
        if type(part).__module__.startswith(_LIBRARIES):
            continue
        hparams = getattr(part, "hparams", None)
        owned = {**vars(part), **dict(part.named_buffers(recurse=False)), **dict(part.named_parameters(recurse=False))}
        for name, value in {**(hparams if isinstance(hparams, Mapping) else {}), **owned}.items():
            number = _number(value) if _SETTING.search(str(name)) else None
            if number is not None:
                found[f"{prefix}.{name}" if prefix else str(name)] = number
    return found


def _number(value: object) -> float | None:
    if isinstance(value, Tensor):
        value = value.detach().item() if value.numel() == 1 and not value.is_meta else None
    return finite(value)


def finite(value: object) -> float | None:
    """Return an int or float as a float; None if it is anything else, not finite, or too large for a float."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def kind_of(scores: Tensor, axis: int, *, is_sigmoid: bool = False) -> Kind:
    """Tell whether an output holds probabilities of classes, or scores.

    Args:
        scores: The output on some input.
        axis: The dim of the classes.
        is_sigmoid: Whether it may be that of a sigmoid: otherwise, only values that add up to 1 are probabilities.
    """
    values = scores.detach().double()
    if not values.numel() or not torch.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        return "scores"
    sums = values.sum(axis)
    is_distribution = torch.allclose(sums, torch.ones_like(sums), atol=1e-3)
    return "probabilities" if is_distribution or (is_sigmoid and float(values.min()) > 0) else "scores"


def activation_of(module: nn.Module) -> Activation:
    """Return what makes probabilities of scores: a sigmoid if the module's loss or metrics are of independent classes.

    Args:
        module: The module.
    """
    names = {type(part).__name__ for part in module.modules()}
    independent = any(
        name in ("BCEWithLogitsLoss", "MultiLabelSoftMarginLoss") or "Multilabel" in name for name in names
    )
    return "sigmoid" if independent else "softmax"
