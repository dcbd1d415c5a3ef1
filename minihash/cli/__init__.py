"""The command `minihash`: parsing here, the work of each command in a file of its own."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from minihash.cli import data, evaluate, export, gradcheck, inspect, predict, quantize, train, tune, warmup
from minihash.terminal import attended, lost
from minihash.text import meant
from minihash.version import __version__

COMMANDS = (train, tune, evaluate, predict, inspect, quantize, export, gradcheck, data, warmup)
DESCRIPTION = "HashedNets: networks that store a fraction of their weights."


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line, with what was probably meant; --help shows the usage.

    Options are written out: `--epoch` is an error that says --epochs.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **options})

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Refuse what is not known here, where its neighbours are known."""
        found, unknown = super().parse_known_args(args, namespace)
        if unknown:
            option = next((word.partition("=")[0] for word in unknown if word.startswith("-")), "")
            hint = meant(option, self._option_string_actions)
            self.error(f"unrecognized arguments: {' '.join(unknown)}{hint}")
        return found, unknown

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            error.message += meant(str(value), map(str, action.choices or ()))
            raise

    def error(self, message: str) -> NoReturn:
        from minihash.machine import launched

        self.exit(2, f"{self.prog}: error: {' '.join(message.split())}\n" if launched()[0] == 0 else None)


def build_parser(
    prog: str = "minihash", description: str = DESCRIPTION, commands: Iterable[Any] = COMMANDS
) -> argparse.ArgumentParser:
    """Return a parser of commands, modules with an `add_parser`; it imports nothing heavy.

    Without a command it prints the help.
    """
    parser = Parser(prog=prog, description=description)
    parser.add_argument("--version", action="version", version=f"minihash {__version__}")

    def help(args: argparse.Namespace) -> int:
        parser.print_help()
        return 0

    parser.set_defaults(run=help)
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in commands:
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None, parser: argparse.ArgumentParser | None = None) -> int:
    """Run a command line; return 0, 1 for a failure (one line on stderr), or 2 for wrong usage.

    `parser`, by default that of `minihash`, gives every command a `run`.
    """
    parser = build_parser() if parser is None else parser
    with attended():
        status = _run(parser, argv)
        if sys.stdout is not None:
            sys.stdout.flush()
        if error := lost(sys.stdout):
            _complain(parser, f"error: standard output: {error.strerror}")
            return status or 1
        return status


def _run(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> int:
    try:
        args = parser.parse_args(argv)
        return args.run(args)
    except KeyboardInterrupt as stop:
        _complain(parser, str(stop) or "interrupted")
        return 128 + getattr(stop, "signal", 2)
    except OSError as error:
        reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
    except MemoryError as error:
        reason = f"out of memory: {error}"
    except (ValueError, ArithmeticError, ImportError) as error:
        reason = str(error)
    _complain(parser, f"error: {reason}")
    return 1


def _complain(parser: argparse.ArgumentParser, reason: str) -> None:
    print(f"{parser.prog}: {' '.join(reason.split())}", file=sys.stderr)
