"""``lightning-onnx view``: show the graph in Netron."""

from __future__ import annotations

import argparse
import importlib.util
import sys

from lightning_onnx.cli.base import FAILED, PASSED, Subparsers, add_method, add_parser, add_path, artifact_at, locate

_EXAMPLES = (
    "lightning-onnx view lightning_logs/version_0/onnx/epoch=2-step=90",
    "lightning-onnx view model.onnx --port 9000 --no-browser",
)


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = add_parser(
        subparsers, "view", run, "open the graph of an artifact or an ONNX file in Netron, until Ctrl-C", _EXAMPLES
    )
    add_path(parser)
    add_method(parser)
    parser.add_argument("--port", type=int, help="port on this machine; default: Netron's own, 8080, or a free one")
    parser.add_argument("--no-browser", action="store_true", help="only serve the page")


def run(arguments: argparse.Namespace) -> int:
    """Serve the model, only on this machine, until interrupted; 1 if Netron is not installed."""
    if arguments.method is None:
        model, artifact = locate(arguments.path)
        if artifact is not None and len(artifact.methods) > 1:
            first, *others = artifact.methods
            sys.stderr.write(f"lightning-onnx view: this is {first}; --method shows {' or '.join(others)}\n")
    else:
        model = artifact_at(arguments.path, arguments.method).model_path
    if importlib.util.find_spec("netron") is None:
        sys.stderr.write("lightning-onnx view: Netron is not installed. Install it: pip install netron\n")
        return FAILED
    import netron

    address = ("localhost", arguments.port) if arguments.port else None
    netron.start(str(model), address=address, browse=not arguments.no_browser)
    netron.wait()
    return PASSED
