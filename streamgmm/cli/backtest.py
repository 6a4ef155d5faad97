"""Run the detector over a file exactly as the daemon would: score first, learn after, same steps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse
    from typing import Any

    from numpy.typing import NDArray

    from streamgmm.records import ScoredBatch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("-c", "--config", type=Path, help="YAML; the defaults serve without it")
    parser.add_argument("--input", type=Path, required=True, help=".npz, .csv or .jsonl")
    parser.add_argument("--output", type=Path, required=True, help="scores, .npz: one entry per input row, in order")
    parser.add_argument("--warm-up", type=int, metavar="N", help="learn, and do not score, exactly the first N rows")
    parser.add_argument("--seed", type=int, help="instead of learning.seed")


def run(args: argparse.Namespace) -> int:
    """Score the file and print what was found."""
    import numpy as np

    from streamgmm.cli._files import read_table
    from streamgmm.stream_detector import StreamDetector

    table = read_table(args.input)
    detector = StreamDetector.from_config(
        args.config or {}, fields=table.fields, warm_up=args.warm_up, seed=args.seed, explain=False
    )
    table = table.take(detector.features.inputs)
    scored = detector.process(table.X, table.t)
    np.savez(args.output, allow_pickle=False, **columns(scored))
    flagged, n_scored = int(scored.is_anomaly.sum()), int((scored.status == 0).sum())
    share = f"{flagged / n_scored:.3%}" if n_scored else "nothing"
    print(f"{len(scored)} rows: {n_scored} scored, {flagged} flagged ({share}); scores in {args.output}")
    return 0


def columns(scored: ScoredBatch) -> dict[str, NDArray[Any]]:
    """Return the output's arrays (n,): unscored rows hold NaN, False, an empty version and their reason."""
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
