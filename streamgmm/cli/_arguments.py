"""Options that several commands share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamgmm.config import Config

INPUTS = ".csv or .jsonl (also .gz), .npz, .npy or .parquet"
OUTPUTS = ".csv, .jsonl, .npz or .parquet"


def natural(text: str) -> int:
    """Return a whole number of at least 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def add_input(parser: argparse.ArgumentParser) -> None:
    """Declare the input file."""
    parser.add_argument("--input", type=Path, required=True, metavar="FILE", help=INPUTS)


def add_past(parser: argparse.ArgumentParser) -> None:
    """Declare the source of past rows: a file, or the topics of the configured source."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--input", type=Path, metavar="FILE", help=INPUTS)
    what.add_argument("--from-topic", action="store_true", help="read the topics of the config with its codec")
    parser.add_argument(
        "--rows",
        type=positive,
        default=1_000_000,
        metavar="N",
        help="with --from-topic: read the newest N records of each partition and keep the newest N rows "
        "(default: 1000000)",
    )


def add_config(parser: argparse.ArgumentParser, use: str = "") -> None:
    """Declare the optional configuration."""
    parser.add_argument("-c", "--config", type=Path, help=f"YAML file{use} (default: all defaults)")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare the folder of the model."""
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder of snapshots")
    add_snapshot(parser)


def add_snapshot(parser: argparse.ArgumentParser) -> None:
    """Declare the name of the snapshot."""
    parser.add_argument("--snapshot", metavar="NAME", help="name of the snapshot (default: the newest intact one)")


def add_member(parser: argparse.ArgumentParser) -> None:
    """Declare the member of the committee."""
    parser.add_argument("--member", metavar="NAME", help="member of the committee (default: the first)")


def add_threads(parser: argparse.ArgumentParser, use: str) -> None:
    """Declare the number of threads. Results do not depend on it."""
    parser.add_argument("--threads", type=positive, default=1, metavar="N", help=f"{use} (default: 1)")


def read_config(path: Path | None) -> Config:
    """Return the configuration of a file, or the defaults.

    Raises
    ------
    ConfigError
        With every problem of the file.
    """
    from streamgmm.config import load, parse

    return parse({}, require=()) if path is None else load(path, require=())
