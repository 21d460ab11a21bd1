"""Classify digits with an exported model: numpy and onnxruntime, no torch.

Usage: python examples/classify_digits.py model.onnx images.npy labels.npy (the last one is written)
"""

import sys

import numpy as np
import onnxruntime

model, images, labels = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
(logits,) = session.run(None, {"images": np.load(images)})
np.save(labels, logits.argmax(-1))

assert "torch" not in sys.modules
print(f"classified {len(logits)} digits with onnxruntime {onnxruntime.__version__}; torch is not imported")
