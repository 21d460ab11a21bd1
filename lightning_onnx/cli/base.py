"""What all commands share: options, exit codes, finding a model, writing."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

from lightning_onnx.artifacts.agreement import check_agreement
from lightning_onnx.artifacts.artifact import MANIFEST, MODEL, ONNXArtifact
from lightning_onnx.errors import InputError, UsageError, first_line
from lightning_onnx.printable import CONTROLS, printable

PASSED, FAILED, USAGE, SKIPPED, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit codes: nothing failed; something failed; the command line is wrong; all checks were skipped; Ctrl-C."""

Run = Callable[[argparse.Namespace], int]
"""A command: takes the parsed arguments and returns the exit code."""


class Subparsers(Protocol):
    """What ``ArgumentParser.add_subparsers`` returns; argparse has no public name for that class."""

    def add_parser(
        self, name: str, *, help: str, description: str, epilog: str, formatter_class: type[argparse.HelpFormatter]
    ) -> argparse.ArgumentParser:
        """Add the parser of a command."""


class Command(Protocol):
    """A module of this package that adds one command."""

    def add(self, subparsers: Subparsers) -> None:
        """Add the command's parser, whose default ``run`` is the function to call."""


class Once(argparse.Action):
    """An option with one value; given again, it is refused, because argparse would drop the first value silently."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        """Take the value."""
        known = getattr(namespace, self.dest, None)
        if known is not None:
            raise argparse.ArgumentError(self, f"got {known} and {values}. Give it once.")
        setattr(namespace, self.dest, values)


def add_parser(
    subparsers: Subparsers, name: str, run: Run, help: str, examples: Iterable[str]
) -> argparse.ArgumentParser:
    """Add a command's parser with examples below its help.

    Args:
        subparsers: What the parser is added to.
        name: The command.
        run: Takes the parsed arguments and returns the exit code.
        help: One line, without a full stop.
        examples: Command lines.
    """
    parser = subparsers.add_parser(
        name,
        help=help,
        description=f"{help[0].upper()}{help[1:]}.",
        epilog="examples:\n" + "\n".join(f"  {line}" for line in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def add_path(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the model."""
    parser.add_argument("path", type=Path, metavar="DIR|FILE", help="an artifact's directory, or an ONNX file")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="write JSON instead of text")


def add_runtimes(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose runtimes."""
    parser.add_argument(
        "--runtime",
        dest="runtime_names",
        action="append",
        metavar="NAME",
        help="onnxruntime, onnxruntime:PROVIDER, openvino, ncnn, reference; may be repeated; default: onnxruntime",
    )
    parser.add_argument(
        "--require", action="append", default=[], metavar="NAME", help="a runtime whose absence is a failure"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "deploy"),
        default="float32",
        help="deploy: each runtime's own default, such as bfloat16; default: float32",
    )


def add_run_parser(
    subparsers: Subparsers, name: str, run: Run, help: str, examples: Iterable[str]
) -> argparse.ArgumentParser:
    """Add the parser of a command that runs a model in runtimes.

    Args:
        subparsers: What the parser is added to.
        name: The command.
        run: Takes the parsed arguments and returns the exit code.
        help: One line, without a full stop.
        examples: Command lines.
    """
    parser = add_parser(subparsers, name, run, help, examples)
    add_path(parser)
    add_json(parser)
    add_runtimes(parser)
    return parser


def runtimes_of(arguments: argparse.Namespace, path: Path | None = None) -> tuple[str, ...]:
    """Return the chosen runtimes, including the required ones; torch for a ``.pt2`` file.

    Args:
        arguments: The parsed arguments.
        path: The file to run; None for one that is yet to be made.

    Raises:
        ConfigurationError: If there is no runtime of one of the names, or the file is one for torch.
    """
    from lightning_onnx.runtimes import base as runtimes
    from lightning_onnx.runtimes.packages import clash

    if path is not None and runtimes.program_for(path, runtimes.DEFAULT) == runtimes.PROGRAM:
        if {*(arguments.runtime_names or []), *arguments.require} - {runtimes.PROGRAM}:
            raise UsageError(f"{path} runs only in torch. Leave out --runtime and --require.")
        return (runtimes.PROGRAM,)
    if clashing := clash():
        sys.stderr.write(f"lightning-onnx {arguments.command}: {clashing}\n")
    names = dict.fromkeys([*(arguments.runtime_names or [runtimes.DEFAULT]), *arguments.require])
    for name in names:
        runtimes.check_name(name)
    return tuple(names)


def add_method(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses one of the methods of an artifact."""
    parser.add_argument("--method", metavar="NAME", help="one of the artifact's methods; default: the first")


def models_at(path: Path) -> dict[str, Path]:
    """Return the models at a path by method: several of an artifact of several methods; otherwise one, without a name.

    Raises:
        UsageError: If it is neither an artifact's directory nor an ONNX file.
        ArtifactError: If the artifact does not match its manifest, or the manifest does not match the model.
    """
    if path.is_dir():
        artifact = artifact_at(path)
        if len(artifact.methods) > 1:
            return {name: artifact.method(name).model_path for name in artifact.methods}
    return {"": model_at(path)}


def model_at(path: Path) -> Path:
    """Return the model at a path: an ONNX file, or that of an artifact or of a directory with a ``model.onnx``.

    Raises:
        UsageError: If there is no model, or the file is not an ONNX model.
    """
    if path.is_dir() and not (path / MANIFEST).is_file() and (path / MODEL).is_file():
        return path / MODEL
    model = locate(path)[0]
    from lightning_onnx.onnxfile.specs import ModelSpecs

    try:
        specs = ModelSpecs.read(model)
    except Exception as error:
        raise no_model(model, error) from error
    if not specs.outputs:
        raise UsageError(f"{model} is not an ONNX model: it has no outputs. Give an ONNX file.")
    return model


def no_model(path: Path, error: Exception) -> UsageError:
    """Return the error for a file that is not an ONNX model.

    Args:
        path: The file.
        error: What was raised when it was read.
    """
    if path.suffix == ".ckpt":
        return UsageError(f"{path} is a checkpoint. Export it: lightning-onnx export {path} --model MODULE:NAME.")
    what = str(error).removeprefix("the file ")
    if isinstance(error, InputError) and what.startswith("is not an ONNX model"):
        return UsageError(f"{path} {what}")
    return UsageError(f"{path} is not an ONNX model ({first_line(error)}). Give an ONNX file.")


def locate(path: Path) -> tuple[Path, ONNXArtifact | None]:
    """Return the model at a path, and its artifact; None for an ONNX file on its own.

    Args:
        path: An artifact's directory, or an ONNX file.

    Raises:
        UsageError: If it is neither.
        ArtifactError: If the artifact does not match its manifest, or the manifest does not match the model.
    """
    if path.is_file():
        return path, None
    if not path.is_dir():
        raise UsageError(f"{path} does not exist. Give an artifact's directory, or an ONNX file.")
    if not (path / MANIFEST).is_file():
        raise UsageError(f"{path} is not an artifact: {MANIFEST} is missing. {_suggest(path)}")
    artifact = ONNXArtifact.load(path)
    check_agreement(artifact)
    return artifact.model_path, artifact


def artifact_at(path: Path, method: str | None = None) -> ONNXArtifact:
    """Return the artifact in a directory.

    Args:
        path: The directory.
        method: One of its methods; None for all of them.

    Raises:
        UsageError: If it is a file, or no directory of an artifact.
        ArtifactError: If the artifact does not match its manifest, that does not match the model, or it has no such
            method.
    """
    artifact = locate(path)[1]
    if artifact is None:
        raise UsageError(f"{path} is a file. Give the directory of an artifact, which holds manifest.json.")
    return artifact if method is None else artifact.method(method)


def _suggest(path: Path) -> str:
    """Name the model in a directory, or the artifacts below it, which may be that of a run."""
    if (path / MODEL).is_file():
        return f"Digests cannot be verified without it. To use the model as it is, give {path / MODEL}."
    found = [p.parent for depth in ("*", "*/*", "*/*/*") for p in sorted(path.glob(f"{depth}/{MANIFEST}"))]
    if found:
        return f"Below it are {', '.join(map(str, found[:5]))}."
    return "Give an artifact's directory, or an ONNX file."


def code_of(statuses: Iterable[str]) -> int:
    """Return the exit code for the statuses of checks; no checks at all is not a failure.

    Example:
        >>> code_of(["passed", "skipped"]), code_of(["passed", "failed"]), code_of(["skipped"]), code_of([])
        (0, 1, 3, 0)
    """
    known = set(statuses)
    return FAILED if "failed" in known else SKIPPED if known == {"skipped"} else PASSED


def write(text: str) -> None:
    """Write lines to the standard output; what the terminal cannot show is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(printable(text).encode(encoding, "backslashreplace").decode(encoding) + "\n")


def write_json(value: object) -> None:
    """Write a value as JSON to the standard output."""
    is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, indent=2, ensure_ascii=not is_unicode)
    write(CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text))
