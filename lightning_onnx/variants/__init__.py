"""Other models made from ``model.onnx``: ``base`` defines the protocol, ``judging`` decides which are kept."""
