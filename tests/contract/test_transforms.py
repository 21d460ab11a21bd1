from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader, Subset
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightning_onnx.contract.transforms import find_steps, find_tokenizer, steps_of

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
v1 = torchvision.transforms


def said(transform: object) -> list[str]:
    return [step.sentence for step in steps_of(transform)]


NORMALIZED = "normalize with mean [0.485, 0.456, 0.406] and standard deviation [0.229, 0.224, 0.225]"


@pytest.mark.parametrize(
    ("transform", "sentences"),
    [
        (
            v2.Compose(
                [
                    v2.ToImage(),
                    v2.Resize(256),
                    v2.CenterCrop(224),
                    v2.ToDtype(torch.float32, scale=True),
                    v2.Normalize(MEAN, STD),
                ]
            ),
            [
                "put channels first if they are last",
                "resize the shorter side to 256 (bilinear)",
                "crop the center to 224 × 224",
                "convert to float32, divide by 255",
                NORMALIZED,
            ],
        ),
        (
            v1.Compose([v1.Resize((8, 6)), v1.Compose([v1.ToTensor()]), v1.Normalize(MEAN, STD)]),
            ["resize to 8 × 6 (bilinear)", "put channels first, divide by 255", NORMALIZED],
        ),
        (
            v2.Compose([v2.ToDtype(torch.uint8, scale=True), v2.ToDtype(torch.float32, scale=True)]),
            ["convert to uint8", "convert to float32, divide by 255"],
        ),
        (v1.ConvertImageDtype(torch.float64), ["convert to float64, divide by 255"]),
        (
            v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}, scale=True),
            ["convert Image to float32, divide by 255, convert Mask to int64"],
        ),
        (nn.Sequential(v2.ToDtype(torch.float16), nn.Identity()), ["convert to float16"]),
        (
            torchvision.models.ResNet18_Weights.DEFAULT.transforms(),
            [f"resize the shorter side to 256, crop the center to 224 × 224, divide by 255, {NORMALIZED}"],
        ),
        (v2.Pad(2), ["apply Pad(padding=2, fill=0, padding_mode=constant)"]),
        (lambda x: x, ["apply <lambda>"]),
        (torch.relu, ["apply relu"]),
        (None, []),
    ],
)
def test_what_transforms_do(transform: object, sentences: list[str]) -> None:
    assert said(transform) == sentences


def test_a_graph_takes_tensors_which_are_images_already() -> None:
    steps = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])
    assert [step.sentence for step in steps_of(steps, in_graph=True)] == ["convert to float32, divide by 255"]


def test_transforms_of_other_libraries_with_the_same_names() -> None:
    """Albumentations names sizes differently, and divides by the largest pixel."""
    resize = type("Resize", (), {"__init__": lambda self: self.__dict__.update(height=8, width=6, interpolation=1)})
    normalize = type("Normalize", (), {"mean": (0.5,), "std": (0.25,), "max_pixel_value": 255.0})
    without = type("Normalize", (), {"mean": None, "std": None, "__repr__": lambda self: "Normalize()"})
    assert said(without()) == ["apply Normalize()"]
    strange = type("CenterCrop", (), {"__repr__": lambda self: "CenterCrop(p=1.0)"})
    assert said(SimpleNamespace(transforms=[resize(), normalize(), strange()])) == [
        "resize to 8 × 6",
        "divide by 255, normalize with mean [0.5] and standard deviation [0.25]",
        "apply CenterCrop(p=1.0)",
    ]


def test_the_transforms_of_the_data_set_are_found() -> None:
    data = torchvision.datasets.FakeData(8, (3, 9, 9), 4, transform=v1.ToTensor())
    (step,) = find_steps(DataLoader(Subset(data, [0, 1])))
    assert (step.transform, step.in_graph) == ("ToTensor()", False)
    assert find_steps(DataLoader(Subset([1, 2], [0]))) == ()
    assert find_steps(None) == ()


def test_paths_are_not_kept() -> None:
    home = type("Home", (), {"__repr__": lambda self: "Home(file='/home/someone/secret/mask.png')"})()
    (step,) = steps_of(home)
    assert "someone" not in step.transform + step.sentence


def test_tokenizers() -> None:
    class Tokenizer:
        name_or_path, model_max_length, vocab_size = "bert-base-uncased", 512, 30522

        def __call__(self, text: str) -> None: ...

    found = find_tokenizer(None, [SimpleNamespace(tokenizer=Tokenizer())])
    assert found is not None
    assert (found.name, found.max_length, found.vocabulary) == ("bert-base-uncased", 512, 30522)
    Tokenizer.model_max_length = int(1e30)
    found = find_tokenizer(DataLoader([1], collate_fn=SimpleNamespace(tokenizer=Tokenizer())), [])  # type: ignore[arg-type]
    assert found is not None
    assert found.max_length is None
    assert find_tokenizer(None, [SimpleNamespace()]) is None
