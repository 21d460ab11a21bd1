"""A small U-Net, trained on crops of several sizes, exported once, and run on images of a new size.

Run ``python examples/segmentation.py``. The photos are the two that scikit-learn ships. What to find is derived from
them: the regions whose mean brightness over 9 x 9 pixels is above 0.4. Height and width differ from batch to batch, so
both are dynamic, and so is the batch.
"""

import argparse
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from sklearn.datasets import load_sample_images
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_onnx import ONNXExport

SIZES = [(48, 48), (64, 96), (96, 64)]


def photos():
    """Return china and flower, [2, 3, 427, 640] from 0 to 1, and where they are bright, [2, 1, 427, 640]."""
    images = torch.tensor(np.stack(load_sample_images().images)).permute(0, 3, 1, 2) / 255
    around = F.avg_pool2d(images.mean(1, keepdim=True), 9, stride=1, padding=4, count_include_pad=False)
    return images, (around > 0.4).float()


def crops(images, masks, batches, columns, seed):
    """Cut batches of 8 crops; each batch has one of the sizes."""
    rng, found = np.random.default_rng(seed), []
    for number in range(batches):
        (height, width), pairs = SIZES[number % len(SIZES)], []
        for _ in range(8):
            which, top, left = rng.integers(2), rng.integers(427 - height), rng.integers(*columns) - width
            window = np.s_[which, :, top : top + height, left : left + width]
            pairs.append((images[window], masks[window]))
        found.append(tuple(torch.stack(part) for part in zip(*pairs, strict=True)))
    return found


def block(ins, outs):
    """Two convolutions."""
    layers = [m for c in (ins, outs) for m in (nn.Conv2d(c, outs, 3, padding=1), nn.BatchNorm2d(outs), nn.ReLU())]
    return nn.Sequential(*layers)


def iou(found, mask):
    """Return the intersection over the union of two masks."""
    return float((found & mask).sum() / (found | mask).sum())


class UNet(LightningModule):
    """Two steps down, two up."""

    def __init__(self):
        super().__init__()
        self.down = nn.ModuleList([block(3, 8), block(8, 16), block(16, 32)])
        self.up = nn.ModuleList([block(32 + 16, 16), block(16 + 8, 8)])
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, images):
        """Map images [batch, 3, height, width] to logits [batch, 1, height, width]."""
        first = self.down[0](images)
        second = self.down[1](F.max_pool2d(first, 2))
        x = self.down[2](F.max_pool2d(second, 2))
        for skip, layers in zip((second, first), self.up, strict=True):
            x = layers(torch.cat([F.interpolate(x, size=skip.shape[-2:]), skip], 1))
        return self.head(x)

    def training_step(self, batch):
        """Return the loss."""
        return F.binary_cross_entropy_with_logits(self(batch[0]), batch[1])

    def validation_step(self, batch):
        """Log the intersection over union."""
        self.log("val_iou", iou(self(batch[0]) > 0, batch[1] > 0), batch_size=len(batch[0]))

    def configure_optimizers(self):
        """Use Adam."""
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def main():
    """Train on crops of the left part, validate on crops of the right part, and run the artifact on the right part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where everything goes; default: ./runs")
    root = parser.parse_args().root
    seed_everything(0)
    images, masks = photos()
    train = crops(images, masks, 30, (96, 400), seed=0)
    val = crops(images, masks, 6, (500, 640), seed=1)
    checkpoint, callback = ModelCheckpoint(monitor="val_iou", mode="max"), ONNXExport(output_names=["logits"])
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=4,
        default_root_dir=root,
        callbacks=[checkpoint, callback],
        enable_progress_bar=False,
        log_every_n_steps=10,
    )
    trainer.fit(UNet(), DataLoader(train, batch_size=None, shuffle=True), DataLoader(val, batch_size=None))
    print(callback.artifact.signature)
    module = UNet.load_from_checkpoint(checkpoint.best_model_path).eval()
    session = onnxruntime.InferenceSession(callback.artifact.model_path, providers=["CPUExecutionProvider"])
    right, target = images[..., 404:].contiguous(), masks[..., 404:] > 0  # training saw the columns up to 400
    with torch.inference_mode():
        outputs = {"module": module(right)}
    outputs["artifact"] = torch.from_numpy(session.run(["logits"], {"images": right.numpy()})[0])
    for name, logits in outputs.items():
        print(f"{name:<8} IoU {iou(logits > 0, target):.4f} on {len(logits)} images of {tuple(logits.shape[2:])}")
    print(f"same pixels: {((outputs['module'] > 0) == (outputs['artifact'] > 0)).float().mean():.4%}")


if __name__ == "__main__":
    main()
