from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightning_onnx.contract.transforms import steps_of

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
                "resize the shorter side to 256 (bilinear, antialiased)",
                "crop the center to 224 × 224",
                "convert to float32, divide by 255",
                NORMALIZED,
            ],
        ),
        (
            v1.Compose([v1.Resize((8, 6)), v1.Compose([v1.ToTensor()]), v1.Normalize(MEAN, STD)]),
            ["resize to 8 × 6 (bilinear, antialiased)", "put channels first, divide by 255", NORMALIZED],
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
            [
                "resize the shorter side to 256 (bilinear, antialiased), crop the center to 224 × 224, divide by 255, "
                + NORMALIZED
            ],
        ),
        (
            v2.Resize(8, max_size=10),
            ["resize the shorter side to 8, but the longer one to at most 10 (bilinear, antialiased)"],
        ),
        (v2.Resize(None, max_size=10), ["resize the longer side to 10 (bilinear, antialiased)"]),
        (v2.Resize([8, 6], interpolation=0), ["resize to 8 × 6 (nearest)"]),
        (
            v2.Compose([v2.RandomApply([v2.CenterCrop(8)], p=0.5), v2.RandomChoice([v2.ToImage()])]),
            [
                "apply RandomApply(CenterCrop(size=(8, 8)))",
                "apply RandomChoice(transforms=[ToImage()], p=[1.0])",
            ],
        ),
        (
            torchvision.models.ViT_B_16_Weights.IMAGENET1K_SWAG_E2E_V1.transforms(),
            [
                "resize the shorter side to 384 (bicubic, antialiased), crop the center to 384 × 384, divide by 255, "
                + NORMALIZED
            ],
        ),
        (
            torchvision.models.segmentation.FCN_ResNet50_Weights.DEFAULT.transforms(),
            [f"resize the shorter side to 520 (bilinear, antialiased), divide by 255, {NORMALIZED}"],
        ),
        (torchvision.models.detection.FasterRCNN_ResNet50_FPN_Weights.DEFAULT.transforms(), ["divide by 255"]),
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


def albumentations(name: str, **attributes: Any) -> Any:
    """Return a transform that looks like one of albumentations 2.0.8."""
    printed = f"{name}({', '.join(f'{key}={value}' for key, value in attributes.items())})"
    return type(name, (), {"p": 1.0, "__repr__": lambda self: printed, **attributes})()


def test_the_transforms_of_albumentations() -> None:
    resize = albumentations("Resize", height=8, width=6, interpolation=2)
    steps = [
        albumentations("Sequential", p=1.0, transforms=[resize]),
        albumentations("LongestMaxSize", max_size=(64,), max_size_hw=None, interpolation=1),
        albumentations("SmallestMaxSize", max_size=32, max_size_hw=None, interpolation=3),
        albumentations("ToFloat", max_value=255.0),
        albumentations("Normalize", mean=(0.5,), std=(0.25,), max_pixel_value=255.0, normalization="standard"),
        albumentations("ToTensorV2", transpose_mask=False),
    ]
    assert said(albumentations("Compose", transforms=steps)) == [
        "resize to 8 × 6 (bicubic)",
        "resize the longer side to 64 (bilinear)",
        "resize the shorter side to 32 (area)",
        "divide by 255",
        "divide by 255, normalize with mean [0.5] and standard deviation [0.25]",
        "put channels first",
    ]


@pytest.mark.parametrize(
    ("transform", "sentence"),
    [
        (albumentations("OneOf", transforms=[albumentations("Blur")]), "apply OneOf(transforms=[Blur()])"),
        (albumentations("Sequential", p=0.5, transforms=[]), "apply Sequential(p=0.5, transforms=[])"),
        (albumentations("Resize", p=0.5, height=8, width=6), "apply Resize(p=0.5, height=8, width=6)"),
        (
            albumentations("Normalize", mean=(0.5,), std=(0.2,), max_pixel_value=255.0, normalization="image"),
            "apply Normalize(mean=(0.5,), std=(0.2,), max_pixel_value=255.0, normalization=image)",
        ),
    ],
)
def test_what_is_not_always_done_is_not_said_as_if_it_were(transform: object, sentence: str) -> None:
    assert said(transform) == [sentence]


def test_transforms_of_other_libraries_with_the_same_names() -> None:
    """Albumentations names sizes differently, and divides by the largest pixel."""
    resize = type("Resize", (), {"__init__": lambda self: self.__dict__.update(height=8, width=6, interpolation=None)})
    normalize = type("Normalize", (), {"mean": (0.5,), "std": (0.25,), "max_pixel_value": 255.0})
    without = type("Normalize", (), {"mean": None, "std": None, "__repr__": lambda self: "Normalize()"})
    assert said(without()) == ["apply Normalize()"]
    strange = type("CenterCrop", (), {"__repr__": lambda self: "CenterCrop(p=1.0)"})
    assert said(SimpleNamespace(transforms=[resize(), normalize(), strange()])) == [
        "resize to 8 × 6",
        "divide by 255, normalize with mean [0.5] and standard deviation [0.25]",
        "apply CenterCrop(p=1.0)",
    ]


def test_paths_are_not_kept() -> None:
    home = type("Home", (), {"__repr__": lambda self: "Home(file='/home/someone/secret/mask.png')"})()
    (step,) = steps_of(home)
    assert "someone" not in step.transform + step.sentence
