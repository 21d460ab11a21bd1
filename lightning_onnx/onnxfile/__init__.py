"""The bytes of an ``.onnx`` file: reading, writing and describing them, without torch."""
