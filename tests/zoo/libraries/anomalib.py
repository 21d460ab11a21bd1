"""anomalib: models that its Engine trains on a folder of images, some of which only collect statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import lightning.pytorch as pl
import torch

from tests.zoo.case import Case, images, whole
from tests.zoo.isolated.library import Library

SIDE = 64
DIRECTORIES = {"normal_dir": "good", "abnormal_dir": "bad", "normal_test_dir": "good", "mask_dir": "mask"}
RESNET = {"backbone": "resnet18", "layers": ["layer1", "layer2"]}


def _fill(root: Path) -> Path:
    """Fill a folder with images, those in ``bad`` with a bright square, of which ``mask`` has the place."""
    import numpy as np
    from PIL import Image

    chance = np.random.default_rng(0)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[20:40, 20:40] = 255
    for kind in ("good", "bad", "mask"):
        (root / kind).mkdir(parents=True)
        for number in range(8):
            pixels = chance.integers(80, 120, (SIDE, SIDE, 3), dtype=np.uint8)
            if kind == "bad":
                pixels[mask > 0] = 255
            Image.fromarray(mask if kind == "mask" else pixels).save(root / kind / f"{number}.png")
    return root


@contextlib.contextmanager
def _random_weights() -> Iterator[None]:
    """Make no network download weights, which some do without being asked."""
    import timm

    create = timm.create_model
    with mock.patch.object(
        timm, "create_model", lambda *args, **kwargs: create(*args, **(kwargs | {"pretrained": False}))
    ):
        yield


def _case(name: str, model: str, **options: Any) -> Case:
    def fit(callback: pl.Callback, directory: Path) -> pl.LightningModule:
        from anomalib import models
        from anomalib.data import Folder
        from anomalib.engine import Engine

        kind = getattr(models, model)
        with _random_weights():
            module = kind(
                pre_processor=kind.configure_pre_processor(image_size=(SIDE, SIDE)), visualizer=False, **options
            )
        sizes = {"train_batch_size": 4, "eval_batch_size": 4, "num_workers": 0}
        data = Folder("made", root=_fill(directory / "images"), **DIRECTORIES, **sizes)
        engine = Engine(
            callbacks=[callback],
            max_epochs=1,
            accelerator="cpu",
            logger=False,
            default_root_dir=directory,
            enable_progress_bar=False,
        )
        engine.fit(module, datamodule=data)
        return module

    def batch(size: int, variant: int) -> torch.Tensor:
        return images((3, SIDE, SIDE))(size, variant)[0].sigmoid()

    return Case(f"anomalib/{name}", None, batch, whole, fit=fit)


LIBRARY = Library(
    "anomalib",
    cases=(
        _case("padim", "Padim", n_features=16, **RESNET),
        _case("patchcore", "Patchcore", num_neighbors=3, **RESNET),
        _case("stfpm", "Stfpm", backbone="resnet18", layers=["layer1", "layer2"]),
        _case("fastflow", "Fastflow", backbone="resnet18", flow_steps=2),
    ),
)
