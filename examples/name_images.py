"""Name the digits on PNG files with an exported model: Pillow, numpy and onnxruntime, no torch.

Usage: python examples/name_images.py model.onnx folder (with a folder of images for each class, as "3_three")
"""

import ast
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

model, folder = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
names = ast.literal_eval(session.get_modelmeta().custom_metadata_map["names"])

right, paths = 0, sorted(Path(folder).rglob("*.png"))
for number, path in enumerate(paths):
    pixels = np.asarray(Image.open(path).convert("L"))
    probabilities, label = session.run(None, {"images": pixels[None, :, :, None]})
    name = names[int(label[0])]
    right += path.parent.name.endswith(f"_{name}")
    if number % (len(paths) // 5) == 0:
        print(f"{path.name}, {pixels.shape[1]} x {pixels.shape[0]} pixels: {name} ({probabilities.max():.1%})")

assert "torch" not in sys.modules
print(f"the file: {right / len(paths):.4f} of the images are named rightly; torch is not imported")
