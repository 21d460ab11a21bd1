"""Programs that run ONNX files. ``base`` holds the protocol, every other file one runtime."""
