"""Does a fixed level flag the share it was told to, on streams that never change?

    python tests/bench/bench_calibration.py [--rows 1000000] [--target 0.01 0.001] [--shapes gauss,heavy]

Prints realised over target rate before and after the twentieth promotion, and fails outside .8–1.25 (.7–1.35 below a
target of 0.01). Five shapes in three dimensions of 1,000,000 rows take about a quarter of an hour per target.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from stationary import SHAPES, stationary

from streamgmm import StreamDetector

DIMENSIONS = (2, 6, 16)
PROMOTIONS = 20


def realised(shape, d, rows, target):
    """Return realised over target rate before and after the twentieth promotion, and the number of promotions."""
    config = {"detection": {"target_rate": target, "level": "fixed"}}
    detector = StreamDetector.from_config(config, fields=[f"x{i}" for i in range(d)], explain=False)
    flags, promotions = [], []
    for start in range(0, rows, 50_000):
        scored = detector.process(stationary(shape, min(50_000, rows - start), d, start))
        flags.append(scored.is_anomaly[scored.status == 0])
        promotions.append(
            np.array([e.kind == "refit" and e.labels["outcome"] == "promoted" for e in detector.engine.events()]).sum()
            // len(detector.engine.settings.members)
        )
    counts = np.cumsum(promotions)
    part = min(int(np.searchsorted(counts, PROMOTIONS)) + 1, len(flags) - 1)
    before, after = np.concatenate(flags[:part]), np.concatenate(flags[part:])
    return before.mean() / target, after.mean() / target, int(counts[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--target", type=float, nargs="+", default=[0.01, 0.001])
    parser.add_argument("--shapes", default=",".join(SHAPES))
    args = parser.parse_args()
    wrong = 0
    for target in args.target:
        low, high = (0.8, 1.25) if target >= 0.01 else (0.7, 1.35)
        for shape in args.shapes.split(","):
            for d in DIMENSIONS:
                start = time.perf_counter()
                before, after, promotions = realised(shape, d, args.rows, target)
                bad = not (low <= before <= high and low <= after <= high)
                wrong += bad
                took = time.perf_counter() - start
                sys.stdout.write(
                    f"{shape:12s} d {d:3d} target {target:g}: {before:.3f} before, {after:.3f} after "
                    f"{promotions} promotions, {took:.0f} s{'  OUT OF BOUNDS' if bad else ''}\n"
                )
                sys.stdout.flush()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
