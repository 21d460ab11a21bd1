"""The commands of ``lightning-onnx``: one file each, with ``add`` for its options and ``run``."""
