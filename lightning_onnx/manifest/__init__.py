"""What ``manifest.json`` says, as typed records; needs neither torch nor onnx."""
