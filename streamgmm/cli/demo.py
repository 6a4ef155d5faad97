"""Find real faults in a real stream, here and now: embedded broker, replay, daemon, verdict.

Needs no config and no network, ends by itself in under 90 seconds, and leaves nothing running.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from streamgmm.cli import OK

ROWS_PER_SECOND = 190.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--bootstrap-servers",
        metavar="HOST:PORT",
        help="use this Kafka broker, with topics of unique names that are deleted at the end (default: our own)",
    )
    parser.add_argument(
        "--rows-per-second",
        type=_positive,
        default=ROWS_PER_SECOND,
        metavar="N",
        help="pace of the replay after the warm-up (default: %(default)g)",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="leave config, log, state (and topics of your broker) behind"
    )


def run(args: argparse.Namespace) -> int:
    """Play it."""
    from streamgmm.demo.play import Settings, play

    play(Settings(args.bootstrap_servers, args.rows_per_second, args.keep), sys.stdout, sys.stderr)
    return OK


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value
