"""The command line ``lightning-onnx``: runs a command and turns errors into exit codes."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from typing_extensions import override

from lightning_onnx.cli import bench, check, diff, export, inspect, push, snippet, triton, view
from lightning_onnx.cli.base import FAILED, INTERRUPTED, USAGE, Command
from lightning_onnx.errors import ConfigurationError, ONNXExportError, did_you_mean
from lightning_onnx.printable import printable

COMMANDS: tuple[Command, ...] = (export, check, diff, bench, inspect, view, snippet, triton, push)
"""In the order of the help; a new command is a file in this folder and a name here."""

_EPILOG = """\
exit codes:
  0  nothing failed
  1  a check failed, or something else did
  2  the command line is wrong
  3  all checks were skipped

'lightning-onnx COMMAND --help' shows the options of a command and examples.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What follows the program's name; default: those of the process.

    Returns:
        The exit code.
    """
    parsed = _parser().parse_args(arguments)
    try:
        return int(parsed.run(parsed))
    except ConfigurationError as error:
        return _complain(parsed.command, error, USAGE)
    except ONNXExportError as error:
        return _complain(parsed.command, error, FAILED)
    except KeyboardInterrupt:
        return _complain(parsed.command, "interrupted", INTERRUPTED)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="lightning-onnx",
        description="Make ONNX artifacts from Lightning checkpoints, check, inspect and deploy them.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=_CommandParser)
    for command in COMMANDS:
        command.add(subparsers)
    return parser


class _Parser(argparse.ArgumentParser):
    """The parser of the whole program: an unknown command gets the nearest one."""

    @override
    def error(self, message: str) -> NoReturn:
        if unknown := re.match(r"argument COMMAND: invalid choice: '(.*?)'", message):
            known = re.findall(r"\w+", message.partition("(choose from")[2])
            nearest = did_you_mean(unknown[1], known)
            message = f"{unknown[1]!r} is not a command{nearest} Choose from {', '.join(known)}."
        super().error(message)


class _CommandParser(argparse.ArgumentParser):
    """The parser of one command: what is unknown gets the command's usage, not that of the whole program."""

    @override
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            option = unknown[0].partition("=")[0]
            known = re.findall(r"--[a-z][a-z-]*", self.format_help())
            self.error(f"unknown: {' '.join(unknown)}{did_you_mean(option, known) if option.startswith('-') else ''}")
        return found, unknown


class _Version(argparse.Action):
    """Reads the version only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and exit."""
        from lightning_onnx.artifacts.versions import versions

        sys.stdout.write(f"lightning-onnx {versions()['lightning_onnx']}\n")
        parser.exit()


def _complain(command: str, error: Exception | str, code: int) -> int:
    sys.stderr.write(printable(f"lightning-onnx {command}: {error}") + "\n")
    return code
