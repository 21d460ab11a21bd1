"""Programs that run ONNX files: ``base`` has the protocol, ``worker`` their process, and each other file a runtime."""
