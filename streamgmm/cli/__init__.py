"""The command line: one file per command, thin, found by its name.

A command module has a docstring (its help), `add_arguments(parser)` and `run(args) -> int` (the exit code). It imports
what it needs inside `run`, so that `--help` and `check` start at once.
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
    """What a command module holds."""

    __doc__: str

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the command's options."""

    def run(self, args: argparse.Namespace) -> int:
        """Do it and return the exit code."""


def commands() -> dict[str, Command]:
    """Return the command modules by the name a user types."""
    return {
        module.name.replace("_", "-"): cast("Command", importlib.import_module(f"{__name__}.{module.name}"))
        for module in pkgutil.iter_modules(__path__)
        if not module.name.startswith("_")
    }


def parser() -> argparse.ArgumentParser:
    """Build the parser of every command."""
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
    """Run one command; every error of ours becomes a sentence and an exit code, never a traceback."""
    # Before numpy is imported: idle BLAS threads spin, and on a busy machine an 8 × 8 solve then takes milliseconds.
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
