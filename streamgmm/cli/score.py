"""Score a file with a snapshot, without learning.

Derived columns start without state at the first row. The output has one entry per input row, in order:
log_density, p_value, score, is_anomaly, model_version and status (scored, or the reason). Rows with missing cells are
scored by their other cells, on the scale of complete rows.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streamgmm.cli._arguments import OUTPUTS, add_config, add_input, add_model, add_threads, read_config

if TYPE_CHECKING:
    import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_model(parser)
    add_input(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=OUTPUTS)
    add_config(parser, ", for detection.target_rate and learning.seed")
    add_threads(parser, "number of threads")


def run(args: argparse.Namespace) -> int:
    """Score the rows and print how many were flagged."""
    import sys

    from streamgmm.cli._files import checked_output, read_table, write_columns
    from streamgmm.cli.backtest import columns
    from streamgmm.offline import history
    from streamgmm.offline.model import open_model

    config = read_config(args.config)
    checked_output(args.output)
    model = open_model(args.model, args.snapshot)
    rate = config.detection.target_rate
    asked = history.asked(config)
    if asked is None or tuple(one.name for one in asked.fields) != model.fields:
        asked = history.named(model.fields, model.categories)
    table = read_table(args.input, asked)
    scored = model.score(table.X, rate, table.t, seed=config.learning.seed, n_threads=args.threads)
    write_columns(args.output, columns(scored))
    n_scored = int((scored.status == 0).sum())
    print(f"{len(scored)} rows: {n_scored} scored, {int(scored.is_anomaly.sum())} flagged; scores in {args.output}")
    calibration = len(model.calibration.recent)
    if calibration * rate < 1.0:
        print(
            f"provisional: the calibration has {calibration} scores; a target rate of {rate:g} needs more",
            file=sys.stderr,
        )
    return 0
