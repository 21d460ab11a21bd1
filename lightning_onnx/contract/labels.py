"""The class names that a run knows: from its data module, its data sets, a ``config.id2label`` or hyperparameters."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from torch import nn

from lightning_onnx.contract.data_sets import attribute_of, data_sets

_ATTRIBUTES = (
    "classes",
    "class_names",
    "label_names",
    "categories",
    "class_to_idx",
    "idx_to_class",
    "id2label",
    "label2id",
)
_UNNAMED = re.compile(r"LABEL_\d+")
"""The names that transformers gives to classes without a name."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """Class names.

    Attributes:
        names: The names, by index of the class.
        source: Where they come from: ``"datamodule.classes"``.
    """

    names: tuple[str, ...]
    source: str


def find_labels(module: nn.Module, datamodule: object = None, loaders: object = None) -> list[Labels]:
    """Return all lists of class names that a run knows, the nearest to the data first.

    Args:
        module: The module.
        datamodule: The ``LightningDataModule``, None without one.
        loaders: As in ``Trainer.validate``.
    """
    return list(_found(module, datamodule, loaders))


def _found(module: nn.Module, datamodule: object, loaders: object) -> Iterator[Labels]:
    yield from _of(datamodule, "datamodule")
    for data_set in data_sets(loaders):
        yield from _of(data_set, "dataset")
        yield from _of_features(data_set)
    for name, part in module.named_modules():
        config = getattr(part, "config", None)
        names = None if config is None else as_names(attribute_of(config, "id2label"))
        if names and not all(map(_UNNAMED.fullmatch, names)):
            yield Labels(names, ".".join(filter(None, (name, "config.id2label"))))
    hparams = getattr(module, "hparams", None)
    for attribute in _ATTRIBUTES:
        names = as_names(hparams.get(attribute)) if isinstance(hparams, Mapping) else None
        if names:
            yield Labels(names, f"hparams.{attribute}")
    yield from _of(module, "module")


def _of(owner: object, called: str) -> Iterator[Labels]:
    for attribute in () if owner is None else _ATTRIBUTES:
        names = as_names(attribute_of(owner, attribute))
        if names:
            yield Labels(names, f"{called}.{attribute}")
    for attribute, value in getattr(owner, "__dict__", {}).items():
        names = as_names(attribute_of(value, "classes_")) if type(value).__name__ == "LabelEncoder" else None
        if names:  # of scikit-learn
            yield Labels(names, f"{called}.{attribute}.classes_")


def _of_features(data_set: object) -> Iterator[Labels]:
    """Yield the names of the class labels of a data set of the library ``datasets``."""
    features = attribute_of(data_set, "features")
    for name, feature in features.items() if isinstance(features, Mapping) else ():
        names = as_names(attribute_of(feature, "names")) or as_names(
            attribute_of(attribute_of(feature, "feature"), "names")  # one label for each token
        )
        if names:
            yield Labels(names, f"dataset.features.{name}")


def as_names(value: object) -> tuple[str, ...] | None:
    """Return class names by index: of a list, or of a dict from index to name or from name to index; else None.

    An array of texts is a list of them; several names of one class are one, with commas.
    """
    if isinstance(value, Mapping):
        return _of_mapping(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "UO":
        value = value.tolist()
    if not isinstance(value, (list, tuple)):
        return None
    names = [", ".join(name) if isinstance(name, tuple) and _are_texts(name) else name for name in value]
    return tuple(map(without_surrogates, names)) if _are_texts(names) else None


def _are_texts(values: Sequence[object]) -> TypeGuard[Sequence[str]]:
    return bool(values) and all(isinstance(value, str) for value in values)


def _of_mapping(value: Mapping[Any, Any]) -> tuple[str, ...] | None:
    pairs = [(k, v) if isinstance(v, str) else (v, k) for k, v in value.items()]
    try:
        by_index = {int(index): name for index, name in pairs}
    except (TypeError, ValueError):
        return None
    is_whole = sorted(by_index) == list(range(len(pairs))) and all(isinstance(n, str) for n in by_index.values())
    return tuple(without_surrogates(by_index[i]) for i in range(len(pairs))) if pairs and is_whole else None


def without_surrogates(text: str) -> str:
    """Return a text that UTF-8 can encode: the name of a directory may be of other bytes."""
    return text.encode("utf-8", "replace").decode("utf-8")
