from __future__ import annotations

from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torchmetrics.classification import BinaryAccuracy, MultilabelAccuracy

from lightning_onnx.contract.values import activation_of, kind_of, range_of, settings_of


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (torch.tensor([0.02, 0.97]), (0, 1)),
        (torch.tensor([-0.9, 0.93]), (-1, 1)),
        (torch.tensor([3.0, 251.0]), (0, 255)),
        (torch.tensor([-2.117, 2.64]), (-3, 3)),
        (torch.tensor([0, 30521]), (0, 40000)),
        (torch.tensor([3, 29]), (3, 29)),
        (torch.tensor([1, 1]), (0, 1)),
        (torch.tensor([7, 200], dtype=torch.uint8), (0, 255)),
        (torch.tensor([0.0, 0.0]), (0, 0)),
        (torch.tensor([3.2, 4.1]), (3, 5)),
        (torch.tensor([float("nan")]), None),
        (torch.tensor([True]), None),
        (torch.zeros(0), None),
    ],
)
def test_range(values: Tensor, expected: Any) -> None:
    assert range_of([values]) == expected


def test_zero_has_no_sign() -> None:
    assert str(range_of([torch.tensor([0.0, 16.0])])) == "(0.0, 20.0)"


def test_ends_of_ranges_are_no_values_of_the_data() -> None:
    torch.manual_seed(0)
    for scale in (1e-3, 1.0, 37.0, 1e4):
        values = torch.randn(100) * scale
        found = range_of([values[:50], values[50:]])
        assert found is not None
        assert found[0] <= values.min()
        assert values.max() <= found[1]
        assert not set(found) & set(values.tolist())


def test_settings() -> None:
    class Net(LightningModule):
        def __init__(self, nms_threshold: float = 0.4) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.temperature = nn.Parameter(torch.tensor(1.5))
            self.score_thresh = 0.25
            self.use_threshold = True
            self.huge = self.huge_threshold = 10**400
            self.thresholds_by_name = {"a": 1}
            self.soft, self.metric = nn.Softplus(threshold=20), BinaryAccuracy(threshold=0.3)

    assert settings_of(Net()) == {"nms_threshold": 0.4, "temperature": 1.5, "score_thresh": 0.25}


def test_kinds_of_outputs() -> None:
    scores = torch.tensor([[2.0, -1.0, 0.5], [0.1, 0.2, 0.3]])
    assert kind_of(scores, 1) == "scores"
    assert kind_of(scores.softmax(1), 1) == "probabilities"
    assert kind_of(scores.sigmoid(), 1) == "scores"  # logits may be in 0 to 1 too
    assert kind_of(scores.sigmoid(), 1, is_sigmoid=True) == "probabilities"
    assert kind_of(scores, 1, is_sigmoid=True) == "scores"
    assert kind_of(scores.relu() / 10, 1) == "scores"
    assert kind_of(scores[:0], 1) == "scores"
    assert kind_of(scores * float("nan"), 1) == "scores"


def test_activations() -> None:
    assert activation_of(nn.Sequential(nn.Linear(1, 1), nn.CrossEntropyLoss())) == "softmax"
    assert activation_of(nn.Sequential(nn.BCEWithLogitsLoss())) == "sigmoid"
    assert activation_of(nn.Sequential(MultilabelAccuracy(3))) == "sigmoid"
