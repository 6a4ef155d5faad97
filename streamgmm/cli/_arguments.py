"""Options that several commands share, and what they mean."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamgmm.config import Config

INPUTS = ".csv or .jsonl (also .gz), .npz, .npy or .parquet"
OUTPUTS = ".csv, .jsonl, .npz or .parquet"


def natural(text: str) -> int:
    """Read a number from 0 on."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def positive(text: str) -> int:
    """Read a number from 1 on."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def add_input(parser: argparse.ArgumentParser) -> None:
    """Declare the file to read."""
    parser.add_argument("--input", type=Path, required=True, metavar="FILE", help=INPUTS)


def add_past(parser: argparse.ArgumentParser) -> None:
    """Declare where history comes from: a file, or the topics of the configuration's source."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--input", type=Path, metavar="FILE", help=INPUTS)
    what.add_argument("--from-topic", action="store_true", help="the topics and the codec of the config")
    parser.add_argument(
        "--rows",
        type=positive,
        default=1_000_000,
        metavar="N",
        help="with --from-topic: the newest N records of each partition, the newest N rows of all (default: 1000000)",
    )


def add_config(parser: argparse.ArgumentParser, use: str = "") -> None:
    """Declare the configuration, which may be absent."""
    parser.add_argument("-c", "--config", type=Path, help=f"YAML{use}; the defaults serve without it")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Declare where the model is."""
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="folder of snapshots")
    add_snapshot(parser)


def add_snapshot(parser: argparse.ArgumentParser) -> None:
    """Declare which snapshot of a folder is meant."""
    parser.add_argument("--snapshot", metavar="NAME", help="one of them (default: the newest intact one)")


def add_member(parser: argparse.ArgumentParser) -> None:
    """Declare which member of a committee is meant."""
    parser.add_argument("--member", metavar="NAME", help="of a committee (default: the first)")


def add_threads(parser: argparse.ArgumentParser, use: str) -> None:
    """Declare how many threads share the work; what comes out does not depend on it."""
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
