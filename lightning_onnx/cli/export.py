"""``lightning-onnx export``: make an artifact from a checkpoint of an earlier run."""

from __future__ import annotations

import argparse
import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lightning_onnx.cli.base import (
    Once,
    Subparsers,
    add_parser,
    add_runtimes,
    code_of,
    runtimes_of,
    write,
    write_json,
)
from lightning_onnx.errors import UsageError, first_line

if TYPE_CHECKING:
    from lightning_onnx.checks.base import Check

_EXAMPLES = (
    "lightning-onnx export epoch=2-step=90.ckpt --model my_package.models:Classifier --data my_package.data:Digits",
    "lightning-onnx export last.ckpt --model train:Net -o exported --target 'onnxruntime>=1.17'",
    "lightning-onnx export last.ckpt --model train:Net --data train:Digits --metrics --latency 1 8",
    "lightning-onnx export last.ckpt --model train:Net --init hidden=64 --init 'sizes=[3, 4]' --runtime openvino",
    "lightning-onnx export last.ckpt --model train:Net --data train:Digits --variant fp16 --variant int8",
    "lightning-onnx export last.ckpt --model train:Net --preprocess train:prepare --sample train:raw_images",
)

_OF_ONE = ("input_names", "output_names", "preprocess", "postprocess", "sample")
"""Options that describe one method."""


def add(subparsers: Subparsers) -> None:
    """Add the command's parser."""
    parser = add_parser(
        subparsers, "export", run, "export a checkpoint of an earlier run; no code in it is run", _EXAMPLES
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="a checkpoint of Lightning: a path or URL")
    parser.add_argument(
        "--model",
        action=Once,
        required=True,
        metavar="MODULE:CLASS",
        help="the LightningModule, called with the checkpoint's hyperparameters",
    )
    parser.add_argument(
        "--init",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an argument of the module, in JSON or as text; before the checkpoint's",
    )
    parser.add_argument(
        "--data",
        action=Once,
        metavar="MODULE:NAME",
        help="a LightningDataModule, a DataLoader, or a function that returns one; default: example_input_array",
    )
    parser.add_argument("-o", "--output", metavar="DIR", help="default: the checkpoint's name, here")
    parser.add_argument(
        "--method", action="append", metavar="NAME", help="what to export; may be repeated; default: forward"
    )
    parser.add_argument("--opset", action=Once, type=int, metavar="N", help="default: 20, or the target's")
    parser.add_argument(
        "--target", action=Once, help="what is to load it: 'onnxruntime>=1.17', openvino, ncnn, tensorrt-10"
    )
    parser.add_argument("--input-names", nargs="+", metavar="NAME", help="names of the inputs")
    parser.add_argument("--output-names", nargs="+", metavar="NAME", help="names of the outputs")
    parser.add_argument(
        "--exclude-inputs", nargs="+", metavar="NAME", help="inputs to leave out, such as target; default: labels"
    )
    parser.add_argument("--static", action="store_true", help="no dynamic dims")
    parser.add_argument(
        "--preprocess",
        action=Once,
        metavar="MODULE:NAME|METHOD",
        help="what the graph does before the method: a module, a class of one, or a function; or a method of --model",
    )
    parser.add_argument(
        "--postprocess", action=Once, metavar="MODULE:NAME|METHOD", help="what the graph does with the method's result"
    )
    parser.add_argument(
        "--sample",
        action=Once,
        metavar="MODULE:NAME",
        help="a call of the method, or a function that returns one; a raw input with --preprocess MODULE:NAME",
    )
    parser.add_argument(
        "--variant",
        dest="variant_names",
        action="append",
        default=[],
        metavar="NAME",
        help="fp16, int4, int8, pt2, simplified; may be repeated; one that is outside its budget is left out",
    )
    add_runtimes(parser)
    parser.add_argument(
        "--metrics",
        action="store_true",
        help="run the module's validation loop on --data with the module and with the file, and compare what it logs",
    )
    parser.add_argument("--limit-batches", type=int, metavar="N", help="batches of that loop; default: all")
    parser.add_argument(
        "--latency", type=int, nargs="+", metavar="SIZE", help="measure module and runtimes at these batch sizes"
    )
    parser.add_argument(
        "--profile", action="store_true", help="tell on stderr which engines were asked, and where the seconds went"
    )
    parser.add_argument("--json", action="store_true", help="write the manifest as JSON instead of the report")


def run(arguments: argparse.Namespace) -> int:
    """Export; 1 if a check or the export failed, 3 if all checks were skipped."""
    from lightning_onnx.artifacts.naming import check_directory
    from lightning_onnx.pipeline.from_checkpoint import export_checkpoint
    from lightning_onnx.pipeline.methods import configs_of
    from lightning_onnx.variants.base import named

    if "://" not in arguments.checkpoint and not Path(arguments.checkpoint).exists():
        raise UsageError(f"{arguments.checkpoint} does not exist. Give the path or URL of a Lightning checkpoint.")
    names = runtimes_of(arguments)
    methods = arguments.method or ["forward"]
    names_given = [name for name in _OF_ONE if getattr(arguments, name) is not None]
    if len(methods) > 1 and names_given:
        raise UsageError(
            f"--{names_given[0].replace('_', '-')} is for one method. Give --method once, or leave it out."
        )
    if ":" in (arguments.preprocess or "") and arguments.sample is None:
        raise UsageError(
            f"--preprocess {arguments.preprocess} takes raw inputs, which nothing shows. Give --sample MODULE:NAME."
        )
    configs = configs_of(
        methods[0] if len(methods) == 1 else methods,
        checks=_checks(arguments, names),
        opset_version=arguments.opset,
        target=arguments.target,
        input_names=arguments.input_names,
        output_names=arguments.output_names,
        **({} if arguments.exclude_inputs is None else {"exclude_inputs": tuple(arguments.exclude_inputs)}),
        dynamic_axes=None if arguments.static else "auto",
        preprocess=_part(arguments.preprocess),
        postprocess=_part(arguments.postprocess),
        **({} if arguments.sample is None else {"sample": _sample(arguments.sample)}),
        variants=tuple(named(name) for name in dict.fromkeys(arguments.variant_names)),
        runtimes=() if arguments.precision == "deploy" else names,
        require=() if arguments.precision == "deploy" else arguments.require,
    )
    name = Path(arguments.checkpoint).name.removesuffix(".ckpt")
    given = f"{name}.onnx-export" if arguments.output is None else str(arguments.output)
    check_directory("--output", given)
    directory = Path(given)
    if directory.exists():
        raise UsageError(f"{directory} exists. Remove it, or choose another directory with --output.")
    with _log_shown() if arguments.profile else contextlib.nullcontext():
        artifact = export_checkpoint(
            arguments.checkpoint, arguments.model, directory, configs, data=arguments.data, init=_given(arguments.init)
        )
    if arguments.json:
        write_json({"directory": str(artifact.directory), **artifact.manifest})
    else:
        write(f"{artifact.report.text()}\n\n{artifact.directory}")
    return code_of(check.status for own in artifact.record.by_method.values() for check in own.checks)


def _part(name: str | None) -> Any:
    """Return what ``--preprocess`` or ``--postprocess`` names: a method's name as it is, all else imported."""
    from lightning_onnx.pipeline.from_checkpoint import named

    if name is None or ":" not in name:
        return name
    found = named(name)
    if not isinstance(found, type):
        return found
    return _called(found, name, "Name a module, or a class that is called without arguments")


def _sample(name: str) -> Any:
    from torch import Tensor

    from lightning_onnx.pipeline.from_checkpoint import named

    found = named(name)
    if isinstance(found, Tensor) or not callable(found):
        return found
    return _called(found, name, "Name a tensor, or a function without parameters that returns one")


def _called(found: Callable[[], Any], name: str, advice: str) -> Any:
    try:
        return found()
    except Exception as error:  # the user's own code
        raise UsageError(f"{name}() fails: {first_line(error)}. {advice}.") from error


@contextlib.contextmanager
def _log_shown() -> Iterator[None]:
    """Show the log of the package on stderr, with the seconds since the program began."""
    logger, handler = logging.getLogger("lightning_onnx"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(relativeCreated)8d ms  %(message)s"))
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def _checks(arguments: argparse.Namespace, names: tuple[str, ...]) -> list[Check]:
    from lightning_onnx.checks.latency import Latency
    from lightning_onnx.checks.metrics import MetricParity
    from lightning_onnx.checks.parity import Parity
    from lightning_onnx.checks.runtimes import RuntimeParity

    checks: list[Check] = [Parity()]
    if arguments.precision == "deploy":
        checks.append(RuntimeParity(names, tuple(arguments.require), precision="deploy"))
    if arguments.metrics:
        if arguments.data is None:
            raise UsageError("--metrics needs batches to validate on. Give them by --data MODULE:NAME.")
        checks.append(MetricParity(arguments.limit_batches))
    elif arguments.limit_batches is not None:
        raise UsageError("--limit-batches limits --metrics. Give both.")
    if arguments.latency:
        checks.append(Latency(arguments.latency, names, precision=arguments.precision))
    return checks


def _given(pairs: list[str]) -> dict[str, Any]:
    import json

    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--init {pair} does not have the form NAME=VALUE. Give one such as --init hidden=64.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found
