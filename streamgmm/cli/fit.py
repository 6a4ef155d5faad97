"""Fit a detector from a file of history and write a snapshot that `run` continues from.

The rows are taken as the warm-up of a daemon: the newest of them fill the window, the fit and its calibration are
those of the engine's first fit. What the daemon must share with it is the codec (its type and fields) and the features.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from streamgmm.cli._arguments import add_config, add_input, read_config

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from streamgmm.cli._progress import Progress


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_input(parser)
    add_config(parser)
    parser.add_argument(
        "--output",
        "--state",
        type=Path,
        metavar="DIR",
        help="folder of the snapshot (default: state.dir of the config)",
    )


def run(args: argparse.Namespace) -> int:
    """Fit, save, and say what was made."""
    from streamgmm.cli._files import read_table
    from streamgmm.cli._progress import Progress
    from streamgmm.offline import history
    from streamgmm.offline.model import new_store

    config = read_config(args.config)
    table = read_table(args.input)
    table = table.take(history.inputs(config, table.fields))
    store = new_store(args.output or config.state.dir)
    with store.lock():
        with Progress() as progress:
            shown = _shown(progress, len(config.committee))
            fitted = history.fit(config, table.fields, table.X, table.t, on_pass=shown)
        name = store.save(fitted.snapshot(datetime.now(UTC).isoformat()))
    state, used = fitted.state, len(fitted.state.window)
    print(f"{store.directory}: snapshot {name}, fitted to {used} of {len(table.X)} rows")
    if used < len(table.X):
        longest = max(member.window for member in config.committee.values())
        print(f"  the newest {longest} at most (the longest window of a member)")
    scores, rate = len(state.calibration.recent), config.detection.target_rate
    print(f"  calibrated by {scores} scores; a target rate of {rate:g} wants {1 / rate:.0f}")
    return 0


def _shown(progress: Progress, members: int) -> Callable[[int, float], None]:
    """Return what shows the passes of each member's two fits: of the first rows, then of all."""
    from streamgmm.refit.fitting import COLD_PASSES

    fits = 0

    def on_pass(number: int, bound: float) -> None:
        nonlocal fits
        fits += number == 1
        done = (fits - 1 + number / COLD_PASSES) / (2 * members)
        progress.show(done, f"fit {fits} of {2 * members}, pass {number}, log-likelihood {bound:.4f}")

    return on_pass
