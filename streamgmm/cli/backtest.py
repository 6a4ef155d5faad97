"""Run the detector over a file as the daemon does: each row is scored first and learnt afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from streamgmm.cli._arguments import OUTPUTS, add_config, add_input, read_config

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from numpy.typing import NDArray

    from streamgmm.offline.tables import Table
    from streamgmm.records import Event, ScoredBatch
    from streamgmm.stream_detector import StreamDetector

# Rows between two reads of the engine's events. It is the precision of event positions in a report.
REPORT_BLOCK = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_config(parser)
    add_input(parser)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help=f"file for the scores: {OUTPUTS}")
    parser.add_argument("--warm-up", type=int, metavar="N", help="learn exactly the first N rows and do not score them")
    parser.add_argument("--seed", type=int, help="seed, instead of learning.seed")
    parser.add_argument(
        "--report", type=Path, metavar="FILE.html", help="write a report with scores, calibration and incidents"
    )


def run(args: argparse.Namespace) -> int:
    """Score the file and print a summary."""
    from streamgmm.cli._files import checked_output, read_table, write_columns
    from streamgmm.errors import StopError
    from streamgmm.offline import history
    from streamgmm.stream_detector import StreamDetector

    config = read_config(args.config)
    checked_output(args.output)
    if args.report is not None and not args.report.parent.is_dir():
        raise StopError(f"{args.report}: there is no folder {args.report.parent}", hint="make it first")
    table = read_table(args.input, history.asked(config))
    detector = StreamDetector.from_config(
        args.config or {}, fields=table.fields, warm_up=args.warm_up, seed=args.seed, explain=args.report is not None
    )
    scored, events = processed(detector, table, REPORT_BLOCK if args.report else max(1, len(table.X)))
    write_columns(args.output, columns(scored))
    if args.report is not None:
        write_report(args.report, args.input.name, detector, table, scored, events)
    flagged, n_scored = int(scored.is_anomaly.sum()), int((scored.status == 0).sum())
    share = f"{flagged / n_scored:.3%}" if n_scored else "nothing"
    print(f"{len(scored)} rows: {n_scored} scored, {flagged} flagged ({share}); scores in {args.output}")
    return 0


def processed(detector: StreamDetector, table: Table, block: int) -> tuple[ScoredBatch, list[tuple[int, Event]]]:
    """Return the scores, and the events with the number of rows seen. The block size does not change the scores."""
    from streamgmm.records import ScoredBatch

    parts, events = [], []
    for start in range(0, max(1, len(table.X)), block):
        rows = slice(start, start + block)
        parts.append(detector.process(table.X[rows], None if table.t is None else table.t[rows]))
        events += [(start + len(parts[-1]), event) for event in detector.engine.events()]
    return ScoredBatch.concatenate(parts), events


def write_report(
    path: Path, name: str, detector: StreamDetector, table: Table, scored: ScoredBatch, events: list[tuple[int, Event]]
) -> None:
    """Write the report.

    Raises
    ------
    StopError
        The file cannot be written.
    """
    from streamgmm import private
    from streamgmm.errors import StopError
    from streamgmm.plots.report import Run, report

    run = Run(f"Backtest of {name}", scored, events, detector.engine.settings.target_rate, table.t, table.y)
    try:
        with private.replacing(path) as temporary:
            temporary.write_text(report(run), encoding="utf-8")
    except OSError as error:
        raise StopError(f"{path}: {error.strerror}") from error


def columns(scored: ScoredBatch) -> dict[str, NDArray[Any]]:
    """Return the output arrays (n,). Unscored rows have NaN, False, an empty version and their reason."""
    import numpy as np

    from streamgmm.records import STATUSES

    version = np.array([f"{p}.{r}" if p else "" for p, r in scored.version])
    return {
        "log_density": scored.log_density,
        "p_value": scored.p_value,
        "score": scored.score,
        "is_anomaly": scored.is_anomaly,
        "model_version": version,
        "status": np.array(STATUSES)[scored.status],
    }
