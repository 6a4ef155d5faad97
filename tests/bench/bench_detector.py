"""The whole detector without a broker: CPU of scoring, of learning every row and of an explanation, in one run.

`PYTHONPATH=. python tests/bench/bench_detector.py` prints a table; `--write` also replaces it in docs/benchmarks.md.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from scipy.signal import lfilter
from sklearn.mixture import GaussianMixture

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent)]

import pages  # noqa: E402  # found through the path above

from streamgmm import StreamDetector  # noqa: E402  # as above

COLUMNS, GROUPS, ROWS, WARM_UP, ROUNDS, SEED = 16, 5, 40_000, 20_000, 7, 0
FIELDS = [f"x{j}" for j in range(COLUMNS)]
# Of these, one row in some ten thousand is learnt.
FAST, BLOCKS_UNTIL_THINNED = 1e-6, 12
SINGLE = {"model": {"committee": "single", "n_components": 8}}


def unordered(rng, n):
    """Rows of a mixture, in no order."""
    return 4.0 * rng.normal(size=(GROUPS, COLUMNS))[rng.integers(GROUPS, size=n)] + rng.normal(size=(n, COLUMNS))


def ordered(rng, n):
    """Autoregressions: the temporal member has a say."""
    return lfilter([1.0], [1.0, -0.95], rng.normal(size=(n, COLUMNS)), axis=0)


def cpu(run, rows):
    """Return CPU µs a row of the whole process."""
    start = time.process_time()
    run()
    return (time.process_time() - start) / rows * 1e6


def learning(config, stream, rng):
    """Learn every row, as backtest does."""
    X = stream(rng, WARM_UP + ROWS)
    detector = StreamDetector.from_config(config, fields=FIELDS, explain=False)
    detector.process(X[:WARM_UP])
    return cpu(lambda: detector.process(X[WARM_UP:]), ROWS)


def scoring(config, stream, rng):
    """Score and calibrate rows of a stream so fast that hardly any is learnt."""
    X = stream(rng, ROWS)
    detector = StreamDetector.from_config(config, fields=FIELDS, explain=False)
    times = 1.7e9 + FAST * np.arange((BLOCKS_UNTIL_THINNED + 1) * ROWS).reshape(-1, ROWS)
    for t in times[:-1]:
        detector.process(X, t)
    return cpu(lambda: detector.process(X, times[-1]), ROWS)


def theirs(_, stream, rng):
    """Score alone, by scikit-learn's mixture."""
    X = stream(rng, WARM_UP + ROWS)
    model = GaussianMixture(GROUPS, random_state=0).fit(X[:WARM_UP])
    return cpu(lambda: model.score_samples(X[WARM_UP:]), ROWS)


def explaining(config, stream, rng, flagged=1000):
    """Explain rows, fifty of a block."""
    X = stream(rng, WARM_UP)
    detector = StreamDetector.from_config(config, fields=FIELDS, explain=False)
    detector.process(X)
    served = detector.engine.state.detector
    blocks = np.split(X[:flagged] + 6.0 * rng.normal(size=(flagged, COLUMNS)), flagged // 50)
    return cpu(lambda: [served.explain(block, FIELDS) for block in blocks], flagged)


MEASURED = (
    ("scoring and calibration", {}, unordered, scoring, "≤ 1"),
    ("scoring and calibration, rows in order", {}, ordered, scoring, ""),
    ("scoring and calibration, `single`, 8 components", SINGLE, unordered, scoring, ""),
    ("*scikit-learn's `score_samples` alone, 5 components*", {}, unordered, theirs, ""),
    ("learning every row", {}, unordered, learning, "≤ 10"),
    ("learning every row, rows in order", {}, ordered, learning, ""),
    ("learning every row, `single`, 8 components", SINGLE, unordered, learning, ""),
    ("an explanation", {}, unordered, explaining, ""),
    ("an explanation, `single`, 8 components", SINGLE, unordered, explaining, "≤ 50"),
)


def table():
    """Return the measurements as Markdown; rounds go through all of them, so that a slow minute hits everybody."""
    found = {name: [] for name, *_ in MEASURED}
    for turn in range(ROUNDS):
        for name, config, stream, measure, _ in MEASURED:
            found[name].append(measure(config, stream, np.random.default_rng(SEED + turn)))
    lines = ["| what | CPU µs a row | least – greatest | rows per CPU second | aim, µs |", "|---|--:|--:|--:|--:|"]
    for name, *_, aim in MEASURED:
        middle, least, most = np.median(found[name]), min(found[name]), max(found[name])
        lines.append(f"| {name} | {middle:.2f} | {least:.2f} – {most:.2f} | {1e6 / middle:,.0f} | {aim} |")
    return "\n".join(lines)


def main():
    text = (
        f"{COLUMNS} columns, the default committee unless named; CPU of the whole process, median of {ROUNDS} runs, "
        f"without a broker. `tests/bench/bench_detector.py --write` measures it again.\n\n{table()}"
    )
    sys.stdout.write(text + "\n")
    if "--write" in sys.argv[1:]:
        pages.write("detector", text)


if __name__ == "__main__":
    main()
