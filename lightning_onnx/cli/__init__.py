"""The command line ``lightning-onnx``: ``main``, and one file per command."""
