from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset, random_split

from lightning_onnx.contract.labels import as_names, find_labels


class Named(TensorDataset):
    def __init__(self, **attributes: Any) -> None:
        super().__init__(torch.zeros(4))
        self.__dict__.update(attributes)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (["cat", "dog"], ("cat", "dog")),
        (["caf\udce9", "dog"], ("caf?", "dog")),  # a directory whose name is not UTF-8
        ({"caf\udce9": 0}, ("caf?",)),
        (("cat", "dog"), ("cat", "dog")),
        ({"dog": 1, "cat": 0}, ("cat", "dog")),
        ({1: "dog", 0: "cat"}, ("cat", "dog")),
        ({"1": "dog", "0": "cat"}, ("cat", "dog")),
        (np.array(["cat", "dog"]), ("cat", "dog")),
        (np.array([0, 1]), None),
        ([("tench", "Tinca tinca"), ("goldfish",)], ("tench, Tinca tinca", "goldfish")),  # torchvision's ImageNet
        ({0: "cat", 2: "dog"}, None),
        ({"a": "b"}, None),
        ([0, 1], None),
        ([], None),
        ("cat", None),
        (7, None),
        (None, None),
    ],
)
def test_forms(value: object, names: tuple[str, ...] | None) -> None:
    assert as_names(value) == names


def test_data_sets_inside_others() -> None:
    named = Named(class_to_idx={"b": 1, "a": 0})
    part, _ = random_split(ConcatDataset([Subset(named, [0, 1]), named]), [3, 3])
    (first, *_) = find_labels(nn.Module(), None, DataLoader(part))
    assert (first.names, first.source) == (("a", "b"), "dataset.class_to_idx")


def test_the_nearest_to_the_data_comes_first() -> None:
    class Net(LightningModule):
        def __init__(self, class_names: list[str]) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.inner = nn.Linear(1, 1)
            self.inner.config = SimpleNamespace(id2label={0: "neg", 1: "pos"})

    module = Net(["h0", "h1"])
    features = {"text": object(), "label": SimpleNamespace(names=["f0", "f1"])}
    found = find_labels(module, SimpleNamespace(classes=["m0", "m1"]), [Named(features=features)])
    assert [(labels.source, labels.names[0]) for labels in found] == [
        ("datamodule.classes", "m0"),
        ("dataset.features.label", "f0"),
        ("inner.config.id2label", "neg"),
        ("hparams.class_names", "h0"),
    ]


def test_names_that_are_none_and_properties_that_raise_are_passed_over() -> None:
    class Raises:
        @property
        def classes(self) -> list[str]:
            raise RuntimeError("not set up")

    module = nn.Module()
    module.config = SimpleNamespace(id2label={0: "LABEL_0", 1: "LABEL_1"})
    assert find_labels(module, Raises(), None) == []


def test_names_in_other_places() -> None:
    """Labels of tokens, an encoder of scikit-learn, and attributes of the module."""
    tokens = SimpleNamespace(feature=SimpleNamespace(names=["O", "B"]))  # as `datasets.Sequence(ClassLabel)`
    encoder = type("LabelEncoder", (), {"classes_": np.array(["e0", "e1"])})()
    module = nn.Module()
    module.class_names = ["m0", "m1"]
    found = find_labels(module, SimpleNamespace(encoder=encoder), [Named(features={"tags": tokens}, categories=["c0"])])
    assert [(labels.source, labels.names[0]) for labels in found] == [
        ("datamodule.encoder.classes_", "e0"),
        ("dataset.categories", "c0"),
        ("dataset.features.tags", "O"),
        ("module.class_names", "m0"),
    ]
