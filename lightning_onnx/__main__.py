"""``python -m lightning_onnx``: the command line, where its script is not on the path."""

import sys

from lightning_onnx.cli.main import main

sys.exit(main())
