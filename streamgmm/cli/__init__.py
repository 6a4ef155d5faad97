"""The command line. Each command is a module in this package.

A command module has a docstring (the help text), `add_arguments(parser)` and `run(args) -> int` (the exit code). It
imports heavy modules inside `run`, so that `--help` and `check` start quickly.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import signal
import sys
from typing import TYPE_CHECKING, Protocol, cast

from streamgmm import __version__
from streamgmm.errors import ConfigError, RetryableError, StreamgmmError

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, FAILED, USAGE, TRY_LATER, BAD_CONFIG = 0, 1, 2, 75, 78


class Command(Protocol):
    """The interface of a command module."""

    __doc__: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options of the command."""

    def run(self, args: argparse.Namespace) -> int:
        """Run the command and return the exit code."""


def commands() -> dict[str, Command]:
    """Return the command modules by command name."""
    return {
        module.name.replace("_", "-"): cast("Command", importlib.import_module(f"{__name__}.{module.name}"))
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    }


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    top = argparse.ArgumentParser(prog="streamgmm", description="Streaming anomaly detection with Gaussian mixtures.")
    top.add_argument("--version", action="version", version=f"streamgmm {__version__}")
    sub = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in commands().items():
        summary = command.__doc__.strip().partition("\n")[0].rstrip(".")
        one = sub.add_parser(name, help=summary, description=command.__doc__)
        command.add_arguments(one)
        one.set_defaults(run=command.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Errors of streamgmm are printed as one message; the exit code tells their kind."""
    # This must be set before numpy is imported. Idle BLAS threads spin, which slows small solves on a busy machine.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIG
    except RetryableError as error:
        print(error, file=sys.stderr)
        return TRY_LATER
    except StreamgmmError as error:
        print(error, file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
