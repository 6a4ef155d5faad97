"""Replay a labelled stream through an embedded broker and the daemon, and print which faults were found.

It needs no config and no network. It ends in less than 90 seconds and stops all processes that it started.
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
        help="use this Kafka broker; the topics have unique names and are deleted at the end "
        "(default: an embedded broker)",
    )
    parser.add_argument(
        "--rows-per-second",
        type=_positive,
        default=ROWS_PER_SECOND,
        metavar="N",
        help="rate of the replay after the warm-up (default: %(default)g)",
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep config, log and state in DIR, and the topics on your broker"
    )


def run(args: argparse.Namespace) -> int:
    """Run the demo."""
    from streamgmm.demo.play import Settings, play

    play(Settings(args.bootstrap_servers, args.rows_per_second, args.keep), sys.stdout, sys.stderr)
    return OK


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value
