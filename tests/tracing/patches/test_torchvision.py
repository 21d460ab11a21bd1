"""Detectors of torchvision: any image size, and equal scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from lightning_onnx import export
from lightning_onnx.module.rounding import TiesReversed
from lightning_onnx.tracing.patches.table import patched

pytestmark = pytest.mark.slow

detection = pytest.importorskip("torchvision.models.detection")
ops = pytest.importorskip("torchvision.ops")


def small_detector() -> torch.nn.Module:
    """A detector with very different scores."""
    torch.manual_seed(0)
    backbone = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 3, 4, 1), torch.nn.Tanh(), torch.nn.Conv2d(16, 16, 3, 4, 1), torch.nn.Tanh()
    )
    backbone.out_channels = 16
    anchors = detection.anchor_utils.AnchorGenerator(((16, 32),), ((0.5, 1.0),))
    pool = ops.MultiScaleRoIAlign(["0"], output_size=3, sampling_ratio=2)
    net = detection.FasterRCNN(
        backbone,
        num_classes=3,
        min_size=64,
        max_size=128,
        rpn_anchor_generator=anchors,
        box_roi_pool=pool,
        box_detections_per_img=20,
        rpn_pre_nms_top_n_test=40,
        rpn_post_nms_top_n_test=20,
    )
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            parameter.normal_(0, 0.5 if "cls" in name else 0.2)
    return net.eval()


def picture(height: int, width: int) -> torch.Tensor:
    """A smooth image: two programs that resize white noise differ by what rounding makes of its slope."""
    coarse = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(height + width))
    return torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0]


def boxes_of(values: list) -> np.ndarray:
    """Rows of box, label and score, in an order that does not depend on the scores."""
    boxes, labels, scores = (np.asarray(v, dtype=np.float64) for v in values)
    rows = np.concatenate([boxes, labels[:, None], scores[:, None]], 1)
    return rows[np.lexsort(rows.round(2).T)]


@pytest.mark.parametrize("engine", ["dynamo", "torchscript"])
def test_detector_at_other_image_sizes(engine: str, tmp_path: Path) -> None:
    net = small_detector()
    made = export(
        net,
        ([picture(72, 80)],),
        directory=tmp_path / "d",
        engine=engine,
        dynamic_axes={"images_0": {1: "height", 2: "width"}},
    )
    assert made.passed, made.manifest["checks"]
    session = onnxruntime.InferenceSession(str(made.model_path), providers=["CPUExecutionProvider"])
    for size in (
        (72, 80),
        (64, 64),
        (200, 130),
        (32, 77),
    ):  # single precision is off by one at the last two
        image = picture(*size)
        with torch.no_grad():
            expected = net([image])[0]
        assert len(expected["boxes"])
        names = [o.name.rpartition("_")[2] for o in session.get_outputs()]
        actual = dict(zip(names, session.run(None, {"images_0": image.numpy()}), strict=True))
        np.testing.assert_allclose(
            boxes_of([actual[k] for k in ("boxes", "labels", "scores")]),
            boxes_of([expected[k] for k in ("boxes", "labels", "scores")]),
            atol=2e-2,
        )


def test_replacements_are_torchvisions_functions() -> None:
    """Fails if torchvision moves or changes a function that is replaced during a trace."""
    torch.manual_seed(0)
    corners = torch.rand(40, 2) * 50
    boxes, scores, classes = torch.cat([corners, corners + 20], 1), torch.rand(40), torch.randint(0, 3, (40,))
    transform = detection.transform.GeneralizedRCNNTransform(64, 100, [0.5] * 3, [0.2] * 3).eval()
    images = [torch.rand(3, 33, 47), torch.rand(3, 90, 41)]

    def results() -> list[torch.Tensor]:
        batch, _ = transform(images)
        return [ops.batched_nms(boxes, scores, classes, 0.3), ops.batched_nms(boxes[:0], scores[:0], classes[:0], 0.3),
                batch.tensors, torch.tensor(batch.image_sizes)]  # fmt: skip

    before, resize, code = results(), detection.transform._resize_image_and_masks, ops.batched_nms.__code__
    with patched("trace"):
        during = results()
        assert detection.transform._resize_image_and_masks is not resize
        assert ops.batched_nms.__code__ is not code
    assert ops.batched_nms.__code__ is code
    for a, b in zip(before, during, strict=True):
        torch.testing.assert_close(a, b)


def test_ties_reversed_is_as_right() -> None:
    scores = torch.randint(0, 3, (4, 9)).float()
    with TiesReversed():
        values, indices = scores.topk(5, 1)
        ordered, order = scores.sort(0, descending=True)
    assert torch.equal(values, scores.topk(5, 1).values)
    assert torch.equal(scores.gather(1, indices), values)
    assert torch.equal(scores.gather(0, order), ordered)
    assert not torch.equal(order, scores.sort(0, descending=True).indices)


def test_equal_scores_are_not_an_error(tmp_path: Path) -> None:
    """It is undefined which of equal boxes survive: this is neither wrong nor passed, but reported."""

    class Picks(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            scores = torch.relu(x).mean((1, 2))  # zero for most
            return x[torch.sort(scores, descending=True).indices[:3]]

    images = -torch.rand(8, 4, 4)
    images[2] += 2
    with TiesReversed():
        reversed_ = Picks()(images)
    assert not torch.equal(reversed_, Picks()(images))
    made = export(Picks(), (images,), directory=tmp_path / "d")
    assert made.manifest["checks"][0]["status"] != "failed"
