"""One resnet50 in three files: for a batch of 1, a batch of 128, and any batch, with a dim named ``batch_axes``.

Run ``python examples/resnet50_batch_axes.py`` (minutes), or with ``--size 64 --batch 16`` (half a minute). The weights
are random. ``dynamic_axes`` means what it means in ``torch.onnx.export``; None makes every dim static. Names, shapes
and opset are read back from the files. Each fixed file is measured beside the one for any batch, call by call in turns,
with one thread and in that thread's own time: what else runs on the machine does not count.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
import torchvision

from lightning_onnx import export

AXES = {"input": {0: "batch_axes"}, "output": {0: "batch_axes"}}


def described(value):
    """Return the name and shape of an input or output in the file."""
    return f"{value.name}[{', '.join(str(d.dim_param or d.dim_value) for d in value.type.tensor_type.shape.dim)}]"


def in_turns(sessions, images, rounds):
    """Return the median time per image of each session, in seconds, without the first call."""
    took = {name: [] for name in sessions}
    for _ in range(rounds + 1):
        for name, session in sessions.items():
            started = time.thread_time()
            session.run(None, {"input": images})
            took[name].append((time.thread_time() - started) / len(images))
    return {name: float(np.median(seconds[1:])) for name, seconds in took.items()}


def main():
    """Export three times, inspect the files, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="where the files go; default: a temporary directory")
    parser.add_argument("--batch", type=int, default=128, help="the larger batch; default: 128")
    parser.add_argument("--size", type=int, default=224, help="height and width of the images; default: 224")
    parser.add_argument("--opset", type=int, default=13)
    options = parser.parse_args()
    root = options.root or Path(tempfile.mkdtemp())
    torch.manual_seed(0)
    model = torchvision.models.resnet50().eval()
    images = torch.rand(options.batch, 3, options.size, options.size)

    sessions = {}
    requested = {
        "fixed 1": (images[:1], None),
        f"fixed {options.batch}": (images, None),
        "batch_axes": (images[:2], AXES),
    }
    for name, (sample, axes) in requested.items():
        artifact = export(
            model,
            sample,
            directory=root / name.replace(" ", "_"),
            opset_version=options.opset,
            input_names=["input"],
            output_names=["output"],
            dynamic_axes=axes,
        )
        file = onnx.load(artifact.model_path)
        signature = f"{described(file.graph.input[0])} -> {described(file.graph.output[0])}"
        size, parity = artifact.model_path.stat().st_size / 2**20, artifact.manifest["checks"][0]["status"]
        print(f"{name:<11} {size:.1f} MiB  opset {file.opset_import[0].version}  {signature}  parity {parity}")
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = 1
        sessions[name] = onnxruntime.InferenceSession(artifact.model_path, settings, ["CPUExecutionProvider"])

    print("\nmedian time per image, one thread, divided by the fixed file's")
    for size, rounds in ((1, 20), (options.batch, 3)):
        pair = {name: sessions[name] for name in (f"fixed {size}", "batch_axes")}
        fixed, dynamic = in_turns(pair, images[:size].numpy(), rounds).values()
        print(f"batch {size:<4} fixed 1.00 ({fixed * 1e3:.1f} ms)  batch_axes {dynamic / fixed:.2f}")
    print(f"\nfiles in {root}")


if __name__ == "__main__":
    main()
