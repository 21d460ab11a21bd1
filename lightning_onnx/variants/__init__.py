"""Other models made from ``model.onnx``: ``base`` has the protocol, ``judging`` decides which are kept."""
