"""Fit a detector to a file or to the records of a topic, and write a snapshot from which `run` continues.

`--from-topic` reads the topics from the beginning to their present end. It joins no group and commits nothing.
The rows serve as the warm-up of a daemon: the newest rows fill the window, and the engine makes its first fit and
calibration. The daemon must have the same codec (type and fields) and the same features.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from streamgmm.cli._arguments import add_config, add_past, read_config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from streamgmm.cli._progress import Progress
    from streamgmm.config import Config
    from streamgmm.records import Floats


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_past(parser)
    add_config(parser)
    parser.add_argument(
        "--output",
        "--state",
        type=Path,
        metavar="DIR",
        help="folder for the snapshot (default: state.dir of the config)",
    )


def run(args: argparse.Namespace) -> int:
    """Fit, save the snapshot and print a summary."""
    from streamgmm.cli._progress import Progress
    from streamgmm.offline import history
    from streamgmm.offline.model import new_store

    config = read_config(args.config)
    with Progress() as progress:
        past = _of_topic(config, args.rows, progress) if args.from_topic else _of_file(config, args.input)
        store = new_store(args.output or config.state.dir)
        with store.lock():
            shown = _shown(progress, len(config.committee))
            fitted = history.fit(config, past.fields, past.X, past.t, on_pass=shown, keys=past.keys)
            name = store.save(fitted.snapshot(datetime.now(UTC).isoformat()))
    n = len(past.X)
    state, used = fitted.state, len(fitted.state.window)
    print(f"{store.directory}: snapshot {name}, fitted to {used} of {n} rows")
    if used < n:
        longest = max(member.window for member in config.committee.values())
        print(f"  a fit uses the newest {longest} rows at most (the longest window of a member)")
    scores, rate = len(state.calibration.recent), config.detection.target_rate
    print(f"  calibrated by {scores} scores; a target rate of {rate:g} needs at least {1 / rate:.0f}")
    return 0


class _Past(NamedTuple):
    """The rows to fit."""

    fields: tuple[str, ...]
    X: Floats
    t: Floats | None
    keys: tuple[bytes | None, ...] | None = None


def _of_file(config: Config, path: Path) -> _Past:
    from streamgmm.cli._files import read_table
    from streamgmm.offline import history

    table = read_table(path, history.asked(config))
    return _Past(table.fields, table.X, table.t)


def _of_topic(config: Config, most: int, progress: Progress) -> _Past:
    from streamgmm import backlog

    past = backlog.read(config, most, lambda share, rows: progress.show(share, f"{rows} rows read"))
    for reason, count in sorted(past.rejected.items()):
        print(f"{count} of {past.records} records left out: {reason}", file=sys.stderr)
    return _Past(() if config.codec is None else config.codec.names, past.X, past.t, past.keys)


def _shown(progress: Progress, members: int) -> Callable[[int, float], None]:
    """Return a callback that shows the EM passes of each member's two fits: of the first rows, then of all rows."""
    from streamgmm.refit.fitting import COLD_PASSES

    fits = 0

    def on_pass(number: int, bound: float) -> None:
        nonlocal fits
        fits += number == 1
        done = (fits - 1 + number / COLD_PASSES) / (2 * members)
        progress.show(done, f"fit {fits} of {2 * members}, pass {number}, log-likelihood {bound:.4f}")

    return on_pass
