"""Programs that run ONNX files: ``base`` has the protocol, every other file one runtime, ``worker`` their process."""
