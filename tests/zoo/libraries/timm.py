"""timm: backbones without pretrained weights, at one or several image sizes."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl

from tests.zoo.case import Case, LitXY, first, images
from tests.zoo.isolated.library import Library

SIZES = ((3, 64, 64), (3, 96, 128), (3, 128, 96))


def _case(name: str, *sizes: tuple[int, ...], **options: Any) -> Case:
    def make() -> pl.LightningModule:
        import timm

        return LitXY(timm.create_model(name, pretrained=False, **({"num_classes": 4} | options)))

    what = name + ("_features" if "features_only" in options else "")
    return Case(f"timm/{what}", make, images(*sizes), first, len(sizes) > 1)


LIBRARY = Library(
    "timm",
    cases=(
        _case("test_vit", (3, 64, 64), img_size=64),
        _case("test_resnet", *SIZES, features_only=True),
        _case("test_nfnet", (3, 64, 64)),
        _case("test_maxvit", (3, 64, 64), img_size=64),
        _case("test_mambaout", *SIZES),
    ),
)
